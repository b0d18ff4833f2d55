"""Files and folders as they appear: their modes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from trainables.common.files import building, replacing, write_json


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_are_the_umasks(tmp_path: Path, umask: int) -> None:
    """safetensors writes 0600 whatever the umask says."""
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "trained.safetensors") as part:
            save_file({"x": np.zeros(1)}, part)
        with building(tmp_path / "exported") as folder:
            (folder / "deeper").mkdir()
            save_file({"x": np.zeros(1)}, folder / "deeper" / "model.safetensors")
        write_json(tmp_path / "record.json", {})
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~umask}
