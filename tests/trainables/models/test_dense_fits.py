"""What a GPU must hold for a dense model, from headers alone; one that cannot is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trainables.models.dense import GIB, checkpoint_bytes, refuse_small_device


def test_bytes_are_counted_over_all_files_in_the_given_type(tmp_path: Path) -> None:
    names = {"one.safetensors": (7, 3), "two.safetensors": (5,)}
    for i, (name, shape) in enumerate(names.items()):
        tensors = {f"t{i}": torch.zeros(shape, dtype=torch.float16), f"s{i}": torch.tensor(1.0)}
        save_file(tensors, tmp_path / name, {"format": "pt"})
    weights = '{"weight_map": {"t0": "one.safetensors", "t1": "two.safetensors"}}'
    (tmp_path / "model.safetensors.index.json").write_text(weights)
    assert checkpoint_bytes(tmp_path, "float32") == 4 * (21 + 1 + 5 + 1)
    assert checkpoint_bytes(tmp_path, "bfloat16") == 2 * (21 + 1 + 5 + 1)


def test_a_device_that_holds_everything_is_let_through() -> None:
    refuse_small_device({"the dense model": 10, "the student": 6}, "GPU", 16, "bfloat16")


def test_a_small_device_is_refused_with_numbers_and_a_way_out() -> None:
    needs = {"the dense model": 13 * GIB, "the student": 9 * GIB}
    with pytest.raises(ValueError, match=r"has 16\.0 GiB of memory, but 22\.0 GiB are needed") as e:
        refuse_small_device(needs, "Some GPU", 16 * GIB, "float32")
    text = str(e.value)
    assert text.startswith("Some GPU has")
    assert "the dense model 13.0 GiB, the student 9.0 GiB" in text
    assert "model.dtype=bfloat16" in text
    assert "--spread" in text
    with pytest.raises(ValueError, match=r"use a GPU with more memory\. Every worker") as half:
        refuse_small_device(needs, "Some GPU", 16 * GIB, "bfloat16")
    assert "bfloat16" not in str(half.value)
