"""What a trial needs of a processor is said before anything of it is used, for every family."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.family_checkpoints import BROKEN, TOKENIZER, edit, save_family
from helpers.family_models import FAMILIES

from trainables.common.weights import read_config
from trainables.models.dense import load_dense
from trainables.models.families.registry import ADAPTERS
from trainables.models.processors import load_processor, processor_faults, read_processor
from trainables.specs import ModelSpec


@pytest.fixture(params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    """Each family in turn."""
    return str(request.param)


def faults(folder: Path, name: str) -> list[str]:
    """What is said of each fault, the subject first."""
    try:
        processor = read_processor(folder)
    except ValueError as error:
        return [f"processor: {error}"]
    found = processor_faults(processor, ADAPTERS[name], read_config(folder))
    return [f"{fault.what}: {fault.text}" for fault in found]


def test_every_fault_is_said_and_a_whole_checkpoint_has_none(name: str, tmp_path: Path) -> None:
    assert faults(save_family(name, tmp_path / "whole"), name) == []
    for number, (breaks, said) in enumerate(BROKEN.values()):
        folder = save_family(name, tmp_path / str(number))
        breaks(folder)
        (found,) = faults(folder, name)
        assert found.startswith(f"{said}: ")
        with pytest.raises(ValueError, match=said):
            load_processor(folder, ADAPTERS[name], read_config(folder))
        with pytest.raises(ValueError, match=said):
            load_dense(ModelSpec(path=str(folder)))


@pytest.mark.parametrize("name", [name for name in FAMILIES if name.startswith("llava")])
@pytest.mark.parametrize("setting", ["patch_size", "vision_feature_select_strategy"])
def test_a_processor_without_what_it_counts_by_says_what_to_set(
    name: str, setting: str, tmp_path: Path
) -> None:
    folder = save_family(name, tmp_path)
    edit(folder / "processor_config.json", **{setting: None})
    (found,) = faults(folder, name)
    value = {"patch_size": "4", "vision_feature_select_strategy": "'default'"}[setting]
    value = "'full'" if (name, setting[0]) == ("llava-phi", "v") else value
    assert found.startswith(f"{setting}: the processor has none")
    assert found.endswith(f"vision tower, {value}")


def test_tokens_that_are_not_those_of_the_model_are_counted(tmp_path: Path) -> None:
    folder = save_family("llava-llama", tmp_path)
    edit(folder / "processor_config.json", patch_size=2)
    (found,) = faults(folder, "llava-llama")
    assert "writes 16 tokens for an image, but the model makes 4 of it" in found


def test_a_special_token_without_a_row(tmp_path: Path) -> None:
    folder = save_family("llava-llama", tmp_path)
    edit(folder / TOKENIZER, pad_token="<far>")
    (found,) = faults(folder, "llava-llama")
    assert found.startswith("embedding: pad_token '<far>' has the id ")
