"""When MLflow is loaded, and what it is told before."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sweeps.engine.spec.user_files import BadInputError
from sweeps.engine.track.store import SETTINGS, check_server


def test_mlflow_is_told_to_keep_quiet_before_it_loads() -> None:
    code = """
import os, sys
from sweeps.engine.track.store import SETTINGS, sweep_links

class Finder:
    def find_spec(self, name, *rest):
        if name == "mlflow":
            print([variable for variable in SETTINGS if variable not in os.environ])

sys.meta_path.insert(0, Finder())
print(sweep_links("nowhere://", "host", 1))
"""
    without = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=without, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[]", "{}"], done.stderr


def test_the_module_loads_without_mlflow() -> None:
    code = (
        "import sys, sweeps.engine.track.tracking\nassert not {'mlflow', 'torch'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("says", "refused"), [("2.22.1", True), ("3.0.0rc1", False), ("<html>not found", False)]
)
def test_a_server_that_says_it_is_too_old_is_refused(
    tmp_path: Path, says: str, refused: bool
) -> None:
    (tmp_path / "version").write_text(says)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        try:
            if refused:
                with pytest.raises(BadInputError, match=r"runs MLflow 2\.22\.1, .* 3\.0 or later"):
                    check_server(uri)
            else:
                check_server(uri)
        finally:
            server.shutdown()
