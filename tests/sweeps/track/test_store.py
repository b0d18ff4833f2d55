"""When MLflow is loaded, and what it is told before."""

from __future__ import annotations

import os
import subprocess
import sys

from sweeps.engine.track.store import SETTINGS


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
