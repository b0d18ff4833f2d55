"""A real object store on loopback: moto's S3 server, in a process of its own.

Started as a program it serves a bucket, which may hold the files of a folder from the start.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

BUCKET = "runs"
ACCOUNT = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests"}


@contextlib.contextmanager
def object_store(content: Path | None = None) -> Iterator[dict[str, str]]:
    """What the environment of its users needs while the block runs."""
    command = [sys.executable, __file__, *([str(content)] if content else [])]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline())
        yield {**ACCOUNT, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    finally:
        server.kill()
        server.wait()


def _one_at_a_time(app: Any) -> Callable[..., Iterable[bytes]]:
    """The service decides a conditional put in one step; moto's threads would look, then put."""
    lock = threading.Lock()

    def answer(environ: Any, start: Any) -> Iterable[bytes]:
        with lock:
            return list(app(environ, start))

    return answer


def _serve(content: Path | None) -> None:
    import logging

    from moto.s3.models import s3_backends
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept
        disable_nagle_algorithm = True

    backend = s3_backends["123456789012"]["aws"]
    backend.create_bucket(BUCKET, "us-east-1")
    for path in sorted(content.rglob("*")) if content else ():
        if path.is_file():
            backend.put_object(BUCKET, str(path.relative_to(content)), path.read_bytes())
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = _one_at_a_time(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    os.environ.update(ACCOUNT)
    _serve(Path(sys.argv[1]) if sys.argv[1:] else None)
