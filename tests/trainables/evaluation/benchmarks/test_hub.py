"""Fetching over HTTP, by the hub's own client from a server that speaks its protocol."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from trainables.evaluation.benchmarks.copies import find_copy

COMMIT = "c0ffee" + "0" * 34
REPO = "lmms-lab-encoder/POPE"
FETCH = """
import sys
from pathlib import Path
from trainables.evaluation.benchmarks import BENCHMARKS
from trainables.evaluation.benchmarks.fetch import fetch
try:
    fetch(BENCHMARKS[sys.argv[1]], Path(sys.argv[2]))
except ValueError as error:
    print(error)
"""


class Hub(BaseHTTPRequestHandler):
    """One public dataset; GQA is gated, everything else unknown."""

    root: Path
    asked: list[str]

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(f"{self.command} {path}")
        if re.fullmatch(rf"/api/datasets/{REPO}(/revision/.+)?", path):
            self._send({"id": REPO, "sha": COMMIT, "cardData": {"license": "mit"}})
        elif found := re.match(rf"/api/datasets/{REPO}/tree/{COMMIT}/?(.*)$", path):
            self._send([self._entry(p) for p in sorted((self.root / found[1]).iterdir())])
        elif found := re.match(rf"/datasets/{REPO}/resolve/{COMMIT}/(.+)$", path):
            self._file(self.root / found[1])
        elif path.endswith("/GQA"):
            self._send({}, 403, "GatedRepo")
        else:
            self._send({}, 401, "RepoNotFound")

    def _entry(self, path: Path) -> dict[str, Any]:
        kind = "directory" if path.is_dir() else "file"
        where = path.relative_to(self.root).as_posix()
        return {"type": kind, "path": where, "oid": "0" * 40, "size": path.stat().st_size}

    def _file(self, path: Path) -> None:
        if not path.is_file():
            return self._send({}, 404, "EntryNotFound")
        tag = hashlib.sha1(path.read_bytes()).hexdigest()
        return self._send(path.read_bytes(), headers={"ETag": f'"{tag}"'})

    def _send(
        self,
        content: Any,
        code: int = 200,
        error: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        for name, value in {
            **(headers or {}),
            **({"X-Error-Code": error} if error else {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def served(hub: Path, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The server's address, and what it was asked."""
    root = tmp_path / "POPE"
    shutil.copytree(hub / "pope", root)
    (test,) = (root / "data").glob("test-*")
    shutil.copy(test, root / "data" / "train-00000-of-00001.parquet")
    readme = root / "README.md"
    train = "  - path: data/train-*\n    split: train\n"
    readme.write_text(readme.read_text().replace("  data_files:\n", f"  data_files:\n{train}"))
    assert "train-*" in readme.read_text()
    asked: list[str] = []
    handler = type("Served", (Hub,), {"root": root, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def _fetch(task: str, to: Path, address: str, **more: str) -> str:
    env = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(to / "home"), **more}
    done = subprocess.run(
        [sys.executable, "-c", FETCH, task, str(to)],
        capture_output=True,
        text=True,
        check=True,
        env=env,
    )
    return done.stdout.strip()


def test_one_split_of_one_commit_is_downloaded(
    served: tuple[str, list[str]], tmp_path: Path, data_folder: Path
) -> None:
    address, asked = served
    assert _fetch("pope", tmp_path, address) == ""
    copy = find_copy(tmp_path, "pope")
    assert (copy.card.revision, copy.card.licence) == (COMMIT, "mit")
    assert copy.digest == find_copy(data_folder, "pope").digest  # as from a local snapshot
    got = [line for line in asked if line.startswith("GET /datasets/")]
    assert any("data/test-" in line for line in got)
    assert not any("data/train-" in line for line in got)


def test_gated_hidden_and_offline_datasets_are_explained(
    served: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, _ = served
    said = _fetch("gqa", tmp_path, address)
    assert "lmms-lab-encoder/GQA" in said
    assert "asks for its terms to be accepted" in said
    assert "`hf auth login` or set HF_TOKEN" in said
    assert "not shown without a token" in _fetch("mme", tmp_path, address)
    said = _fetch("mme", tmp_path, address, HF_HUB_OFFLINE="1")
    assert "offline mode is enabled" in said
    assert len(said.splitlines()) == 1
