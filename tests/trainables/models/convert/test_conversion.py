"""What every layout shares: checks before writing, whole folders only, memory, pickles."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.original_shapes import internvl_shapes
from safetensors import safe_open

from trainables.common.weights import stored_tensors, weight_files
from trainables.models.convert import LAYOUTS, convert
from trainables.models.convert import conversion as module
from trainables.models.convert.sources import TensorFact

Tensors = dict[str, torch.Tensor]


def test_every_wrong_tensor_is_named_and_nothing_is_written(
    internvl_folder: Callable[..., Path], internvl_tensors: Tensors, tmp_path: Path
) -> None:
    layer = "language_model.model.layers.1"
    del internvl_tensors[f"{layer}.mlp.down_proj.weight"]
    del internvl_tensors["vision_model.encoder.layers.0.ls1"]
    internvl_tensors["mlp1.1.weight"] = torch.zeros(32, 79)
    internvl_tensors["vision_model.encoder.layers.1.attn.qkv.bias"] = torch.zeros(61)
    internvl_tensors["language_model.model.layers.2.input_layernorm.weight"] = torch.zeros(32)
    internvl_tensors["qllama.query"] = torch.zeros(4)
    internvl_tensors["mlp1.3.bias"] = torch.zeros(32, dtype=torch.int64)
    with pytest.raises(ValueError, match="nothing was written") as caught:
        convert(internvl_folder(), tmp_path / "stock")
    text = str(caught.value)
    missing, unexpected, shapes, kinds = text.split("; ")
    assert "missing: " in missing
    assert f"{layer}.mlp.down_proj.weight" in missing
    assert "vision_model.encoder.layers.0.ls1" in missing
    assert unexpected == (
        "unexpected: language_model.model.layers.2.input_layernorm.weight, qllama.query"
    )
    assert "mlp1.1.weight is [32, 79], must be [32, 80]" in shapes
    assert "vision_model.encoder.layers.1.attn.qkv.bias is [61], must be [60]" in shapes
    assert "mlp1.3.bias is torch.int64" in kinds
    assert sorted(path.name for path in tmp_path.iterdir()) == ["internvl"]


def test_a_failure_while_writing_leaves_nothing(
    internvl_folder: Callable[..., Path], internvl_tensors: Tensors, tmp_path: Path
) -> None:
    internvl_tensors["language_model.lm_head.weight"][3, 4] = 1e5  # too much for float16
    source = internvl_folder()
    with pytest.raises(ValueError, match=r"lm_head.weight does not fit in float16"):
        convert(source, tmp_path / "stock", dtype="float16")
    internvl_tensors["language_model.lm_head.weight"][3, 4] = math.nan
    with pytest.raises(ValueError, match=r"lm_head.weight is not finite"):
        convert(internvl_folder(), tmp_path / "stock")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["internvl"]


def test_nothing_is_overwritten(internvl_folder: Callable[..., Path], tmp_path: Path) -> None:
    source = internvl_folder()
    (tmp_path / "empty").mkdir()
    first = convert(source, tmp_path / "empty")
    before = {p.name: p.read_bytes() for p in (tmp_path / "empty").iterdir()}
    with pytest.raises(ValueError, match="nothing is overwritten"):
        convert(source, tmp_path / "empty")
    assert {p.name: p.read_bytes() for p in (tmp_path / "empty").iterdir()} == before
    again = convert(source, tmp_path / "again")
    assert again.model_copy(update={"to": first.to}) == first
    after = {p.name: p.read_bytes() for p in (tmp_path / "again").iterdir()}
    assert after == before, "the same source gives the same bytes"


def test_shards_hold_what_one_file_holds(
    internvl_folder: Callable[..., Path], tmp_path: Path
) -> None:
    source, seen = internvl_folder(), []
    convert(source, tmp_path / "one")
    many = convert(
        source,
        tmp_path / "many",
        max_shard_bytes=40_000,
        progress=lambda number, of, path: seen.append((number, of, path.name)),
    )
    files = weight_files(tmp_path / "many")
    assert [path.name for path in files] == list(many.files)
    assert seen == [(i + 1, len(files), path.name) for i, path in enumerate(files)]
    assert len(files) > 3
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    with safe_open(tmp_path / "one" / "model.safetensors", framework="pt") as whole:
        assert index["weight_map"].keys() == set(whole.keys())
        total = 0
        for path in files:
            stored_tensors(path)
            with safe_open(path, framework="pt") as part:
                assert part.metadata() == {"format": "pt"}
                sizes = []
                for name in part.keys():
                    tensor = part.get_tensor(name)
                    assert torch.equal(tensor, whole.get_tensor(name))
                    assert index["weight_map"][name] == path.name
                    sizes.append(tensor.nbytes)
            assert sum(sizes) <= 40_000 or len(sizes) == 1
            total += sum(sizes)
    assert index["metadata"]["total_size"] == total


def test_one_piece_is_in_memory_at_a_time(
    internvl_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors that were read and are still alive never exceed one tensor of the source."""
    import weakref

    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most: list[int] = []
    read = TensorFact.read

    def watched(fact: TensorFact) -> torch.Tensor:
        tensor = read(fact)
        most.append(1 + len(alive))
        alive.add(tensor)
        return tensor

    monkeypatch.setattr(TensorFact, "read", watched)
    convert(internvl_folder(), tmp_path / "stock")
    assert len(most) > 30
    assert max(most) <= 2, "the next one may be read before the last name is rebound"


MEASURE = """
import re, sys
from pathlib import Path
from trainables.models.convert import convert
from trainables.models.convert.sources import open_source

def peak():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) * 1024

source, small, to = map(Path, sys.argv[1:])
convert(small, to / "first")  # imports and allocators are paid for
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
before = peak()
convert(source, to / "second")
after = peak()
held = [fact.read().clone() for fact in open_source(source).tensors.values()]
print(after - before, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_far_below_the_model(
    internvl_folder: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """RSS of a conversion in its own process; mapped pages of the source count, so a bound."""
    small = internvl_folder().rename(tmp_path / "small")
    config = json.loads((small / "config.json").read_text())
    config["llm_config"]["intermediate_size"] = 160_000
    wide = {
        name: tuple({44: 160_000, 88: 320_000}.get(size, size) for size in shape)
        if "language_model" in name
        else shape
        for name, shape in internvl_shapes().items()
    }
    tensors = {name: torch.full(shape, 0.5) for name, shape in wide.items()}
    source = internvl_folder(tensors, changes=config, shards=4)
    arguments = [sys.executable, "-c", MEASURE, str(source), str(small), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    grown, held = map(int, done.stdout.split()[-2:])
    whole = sum(tensor.nbytes for tensor in tensors.values())
    largest = max(tensor.nbytes for tensor in tensors.values())
    assert held > 0.6 * whole, "the measure would see a model that is held whole"
    # The largest tensor twice: its mapped pages and the copy that is written.
    assert grown < 2 * largest + 16 * 2**20 < 0.85 * whole, (grown, largest, whole)


class Evil:
    """Runs code when unpickled."""

    def __reduce__(self) -> Any:
        return (open, (os.environ["PRUNESWEEP_TEST_EVIL"], "w"))


def test_a_pickle_with_code_is_refused_unread(
    llava_folder: Callable[..., Path],
    llava_tensors: Tensors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PRUNESWEEP_TEST_EVIL", str(tmp_path / "ran"))
    source = llava_folder(llava_tensors, bin_=True)
    torch.save(llava_tensors | {"model.extra": Evil()}, source / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pickled code is never run"):
        convert(source, tmp_path / "stock", vision_tower=tmp_path / "clip")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "stock").exists()


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_damaged_and_missing_weight_files(
    llava_folder: Callable[..., Path], llava_tensors: Tensors, tmp_path: Path
) -> None:
    to, tower = tmp_path / "stock", tmp_path / "clip"
    source = llava_folder(bin_=True, shards=2)
    second = source / "pytorch_model-00002-of-00002.bin"
    kept = second.read_bytes()
    second.unlink()
    with pytest.raises(ValueError, match=r"lacks pytorch_model-00002-of-00002.bin"):
        convert(source, to, vision_tower=tower)
    second.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(ValueError, match="cannot be memory-mapped"):
        convert(source, to, vision_tower=tower)
    torch.save(llava_tensors, second, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"cannot be memory-mapped.*save it again"):
        convert(source, to, vision_tower=tower)
    second.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match="pytorch_model-00002"):
        convert(source, to, vision_tower=tower)
    for path in source.glob("pytorch_model*"):
        path.unlink()
    with pytest.raises(ValueError, match="has no weights"):
        convert(source, to, vision_tower=tower)
    source = llava_folder()
    damaged(source / "model.safetensors")
    with pytest.raises(ValueError, match="truncated or damaged"):
        convert(source, to, vision_tower=tower)
    assert not to.exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "gpt2"}, r"model_type='gpt2', which is not an original layout"),
        (
            {"model_type": "llava", "text_config": {"model_type": "llama"}, "vision_config": {}},
            "is a stock llava-llama checkpoint already",
        ),
    ],
)
def test_other_layouts(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message) as caught:
        convert(tmp_path, tmp_path / "to")
    if config["model_type"] == "gpt2":
        assert all(name in str(caught.value) for name in LAYOUTS)
        assert "needs no conversion" in str(caught.value)


def test_a_folder_without_config_or_tokenizer(
    internvl_folder: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"has no config.json"):
        convert(tmp_path / "nowhere", tmp_path / "to")
    source = internvl_folder()
    (source / "tokenizer.model").unlink()
    with pytest.raises(ValueError, match="has no tokenizer"):
        convert(source, tmp_path / "to")
    (source / "tokenizer.model").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"tokenizer in .* cannot be read"):
        convert(source, tmp_path / "to")


def test_a_missing_package_is_named(
    internvl_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = internvl_folder()
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ValueError, match=r"needs a package that is missing .*sentencepiece"):
        convert(source, tmp_path / "to")


def test_a_model_that_could_not_be_pruned_is_not_written(
    internvl_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(config: dict[str, Any]) -> None:
        asked.append(config["model_type"])
        raise ValueError("no adapter")

    monkeypatch.setattr(module, "adapter_for", refuse)
    with pytest.raises(ValueError, match="no adapter"):
        convert(internvl_folder(), tmp_path / "to")
    assert asked == ["internvl"]
    assert not (tmp_path / "to").exists()
