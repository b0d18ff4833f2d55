"""Replaying the vision tower: same logits and gradients as the ordinary forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.models.collation import Batch, image_batch
from trainables.recovery.vision.vision import embed_with_features, vision_features
from trainables.recovery.vision.vision_cache import ensure_features, read_features, vision_store

REPLAYED = (
    *("llava-llama", "llava-mistral", "llava-phi"),
    *("internvl-qwen2", "internvl-qwen3", "internvl-llama", "internvl-phi3"),
    *("idefics3", "smolvlm"),
)
REFUSED = ("llava-next-llama", "llava-next-mistral", "qwen2-vl", "qwen2.5-vl", "qwen3-vl")
CPU = torch.device("cpu")
PROCESSOR = SimpleNamespace(
    image_processor=SimpleNamespace(to_json_string=lambda: '{"size": {"height": 8}}')
)


@pytest.fixture(params=REPLAYED)
def replayed(request: pytest.FixtureRequest, families: dict[str, Callable[..., Any]]) -> Any:
    """Each family that can be replayed, in turn."""
    return families[request.param]()


def logits(family: Any, features: Tensor | None = None) -> Tensor:
    """By the ordinary forward pass, or from features in front of the projector."""
    model, batch = family.model, family.batch
    if features is None:
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        whole: Tensor = model(**inputs).logits
        return whole
    embedded = embed_with_features(model, family.adapter, batch["input_ids"], features)
    state = model.model(inputs_embeds=embedded, attention_mask=batch["attention_mask"])
    replay: Tensor = model.lm_head(state.last_hidden_state)
    return replay


def gradients(family: Any, value: Tensor) -> list[Tensor]:
    projector = list(family.model.get_submodule(family.adapter.projector).parameters())
    present = family.batch["attention_mask"].bool()
    return list(torch.autograd.grad(value[present].square().mean(), projector))


def test_which_families_can_be_replayed(families: dict[str, Callable[..., Any]]) -> None:
    assert {*REPLAYED, *REFUSED} == set(families)


@pytest.mark.parametrize("name", REFUSED)
def test_others_are_refused(name: str, families: dict[str, Callable[..., Any]]) -> None:
    family = families[name]()
    with pytest.raises(ValueError, match=f"{name}: the vision tower's outputs cannot be"):
        vision_features(family.model, family.adapter, family.batch)
    with pytest.raises(ValueError, match=r"set recovery\.vision_cache='off'"):
        embed_with_features(family.model, family.adapter, family.batch["input_ids"], None)


def test_a_replay_equals_the_forward_pass(replayed: Any) -> None:
    model, adapter = replayed.model, replayed.adapter
    model.get_submodule(adapter.projector).requires_grad_(True)
    features = vision_features(model, adapter, replayed.batch)
    assert features is not None
    assert not features.requires_grad
    ordinary, replay = logits(replayed), logits(replayed, features)
    present = replayed.batch["attention_mask"].bool()
    assert torch.allclose(ordinary[present], replay[present], rtol=0, atol=1e-6)
    pairs = zip(gradients(replayed, ordinary), gradients(replayed, replay), strict=True)
    for mine, theirs in pairs:
        assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-6)
        assert float(theirs.abs().max()) > 0


def test_teacher_and_student_share_features_but_not_projectors(
    replayed: Any, families: dict[str, Callable[..., Any]]
) -> None:
    student = families[replayed.name]()
    with torch.no_grad():
        for parameter in student.model.get_submodule(student.adapter.projector).parameters():
            parameter.mul_(1.5)
    features = vision_features(replayed.model, replayed.adapter, replayed.batch)
    assert torch.allclose(logits(student), logits(student, features), atol=1e-6)
    assert not torch.allclose(logits(replayed, features), logits(student, features), atol=1e-2)


def test_the_size_of_features_is_known_without_a_model(replayed: Any) -> None:
    image = replayed.adapter.natural_image(replayed.config)
    pixels = {"pixel_values": torch.randn(image.pixel_values)}
    features = vision_features(replayed.model, replayed.adapter, pixels)
    assert features is not None
    assert features.shape == (1, *image.features)


def test_text_alone(replayed: Any) -> None:
    ids = torch.tensor([[1, 5, 6, 7]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    assert vision_features(replayed.model, replayed.adapter, batch) is None
    embedded = embed_with_features(replayed.model, replayed.adapter, ids, None)
    ordinary = replayed.model.model(**batch).last_hidden_state
    assert torch.equal(ordinary, replayed.model.model(inputs_embeds=embedded).last_hidden_state)


def test_features_of_other_images_are_refused(replayed: Any) -> None:
    features = vision_features(replayed.model, replayed.adapter, replayed.batch)
    assert features is not None
    with pytest.raises(ValueError, match="12 image tokens, but its images have 8 projected rows"):
        embed_with_features(
            replayed.model, replayed.adapter, replayed.batch["input_ids"], features[:-1]
        )


class Images:
    """Images by key, each as its own batch; counts those that were loaded.

    The first of a family that cuts images into tiles has two of them.
    """

    def __init__(self, family: Any) -> None:
        self.tensors: dict[str, Batch] = {}
        self.loaded: list[str] = []
        generator = torch.Generator().manual_seed(3)
        for number, key in enumerate("abcde"):
            tiles = 2 if not number and not family.name.startswith("llava") else 1
            frames = family.batch["pixel_values"].dim() == 5
            shape = (
                *((1, tiles) if frames else (tiles,)),
                *family.batch["pixel_values"].shape[-3:],
            )
            self.tensors[key] = {"pixel_values": torch.randn(shape, generator=generator)}
            if frames:
                self.tensors[key]["pixel_attention_mask"] = torch.ones(1, tiles, *shape[-2:]).long()

    def load(self, key: str) -> Batch:
        self.loaded.append(key)
        return self.tensors[key]


def ensure(family: Any, root: Path, blocks: Sequence[str], images: Images, **options: Any) -> Any:
    """Fill a store; every block is a word of one-letter keys."""
    store = vision_store(root, family.model, family.adapter, PROCESSOR)
    arguments = {"max_gib": 1.0, "images_per_batch": 2} | options
    ensure_features(store, blocks, images.load, family.model, family.adapter, **arguments)
    return store


def test_cached_features_are_those_of_the_tower(replayed: Any, tmp_path: Path) -> None:
    images = Images(replayed)
    ensure(replayed, tmp_path, ["cab"], images)
    assert images.loaded == ["c", "a", "b"]
    store = ensure(replayed, tmp_path, ["abbc", "d"], images)  # a later trial with more data
    assert images.loaded == ["c", "a", "b", "d"]
    read = read_features(store, ["d", "a", "d"], CPU)
    batch = image_batch([images.tensors[key] for key in "dad"], replayed.adapter)
    features = vision_features(replayed.model, replayed.adapter, batch)
    assert read is not None
    assert features is not None
    assert torch.allclose(read, features, rtol=0, atol=1e-6)
    assert read_features(store, [], CPU) is None
    with pytest.raises(ValueError, match=r"1 images are not in the vision cache .* first is e"):
        read_features(store, ["a", "e"], CPU)


def test_only_the_tower_and_the_pictures_settings_matter(
    families: dict[str, Callable[..., Any]], tmp_path: Path
) -> None:
    family = families["llava-llama"]()
    images = Images(family)
    folder = ensure(family, tmp_path, ["ab"], images).folder

    def folder_of(family: Any, processor: Any = PROCESSOR) -> Path:
        return vision_store(tmp_path, family.model, family.adapter, processor).folder

    tower = family.model.get_submodule(family.adapter.vision_tower)
    larger = families["llava-llama"](seed=1, text={"num_hidden_layers": 2})
    assert folder_of(larger) != folder
    larger.model.get_submodule(family.adapter.vision_tower).load_state_dict(tower.state_dict())
    assert folder_of(larger) == folder  # another language model and projector, the same tower

    settings = SimpleNamespace(to_json_string=lambda: '{"size": {"height": 9}}')
    assert folder_of(family, SimpleNamespace(image_processor=settings)) != folder
    family.model.config.vision_feature_layer = -2
    assert folder_of(family) != folder
    family.model.config.vision_feature_layer = -1
    assert folder_of(family) == folder
    with torch.no_grad():
        next(tower.parameters()).view(-1)[0] += 1e-3
    assert folder_of(family) != folder


def test_a_cache_above_its_limit_is_refused(
    families: dict[str, Callable[..., Any]], tmp_path: Path
) -> None:
    family = families["llava-llama"]()
    images = Images(family)
    with pytest.raises(
        ValueError, match=r"would take 1\.2 KiB, but its limit is 1\.0 KiB.*vision_cache='off'"
    ):
        ensure(family, tmp_path, ["abcde"], images, max_gib=1e-6)
    assert images.loaded == ["a", "b"]  # the first batch tells the size


def test_an_image_without_pixels_is_refused(
    families: dict[str, Callable[..., Any]], tmp_path: Path
) -> None:
    family = families["idefics3"]()
    images = Images(family)
    images.tensors["b"]["pixel_values"].zero_()  # the model drops such a frame
    with pytest.raises(ValueError, match="2 images have 3 tiles, but the vision tower answered"):
        ensure(family, tmp_path, ["ab"], images)
