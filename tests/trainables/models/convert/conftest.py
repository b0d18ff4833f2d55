"""Small checkpoints in the original layouts, as fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.original_checkpoints import (
    Tensors,
    random_tensors,
    train_byte_level,
    train_sentencepiece,
    write_bunny,
    write_internvl,
    write_llava,
)
from helpers.original_shapes import bunny_shapes, clip_shapes, internvl_shapes, llava_shapes


@pytest.fixture(scope="session")
def sentencepiece_model() -> bytes:
    """A byte-fallback BPE of 331 pieces."""
    return train_sentencepiece()


@pytest.fixture(scope="session")
def byte_level_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `vocab.json` and `merges.txt` of a byte-level BPE."""
    return train_byte_level(tmp_path_factory.mktemp("byte-level"))


@pytest.fixture
def llava_tensors() -> Tensors:
    """Seeded values of a LLaVA-v1.5 checkpoint."""
    return random_tensors(llava_shapes())


@pytest.fixture
def clip_tensors() -> Tensors:
    """Seeded values of CLIP's vision model."""
    return random_tensors(clip_shapes(), seed=1)


@pytest.fixture
def bunny_tensors() -> Tensors:
    """Seeded values of a Bunny checkpoint, its head with a bias."""
    return random_tensors(bunny_shapes())


@pytest.fixture
def internvl_tensors() -> Tensors:
    """Seeded values of an InternVL-Chat checkpoint."""
    return random_tensors(internvl_shapes())


@pytest.fixture
def llava_folder(
    tmp_path: Path, llava_tensors: Tensors, clip_tensors: Tensors, sentencepiece_model: bytes
) -> Callable[..., Path]:
    """A function that writes a LLaVA-v1.5 checkpoint."""

    def make(tensors: Tensors | None = None, **how: Any) -> Path:
        return write_llava(
            tmp_path, tensors or llava_tensors, clip_tensors, sentencepiece_model, **how
        )

    return make


@pytest.fixture
def bunny_folder(
    tmp_path: Path, bunny_tensors: Tensors, byte_level_files: Path
) -> Callable[..., Path]:
    """A function that writes a Bunny checkpoint."""

    def make(tensors: Tensors | None = None, **how: Any) -> Path:
        return write_bunny(tmp_path, tensors or bunny_tensors, byte_level_files, **how)

    return make


@pytest.fixture
def internvl_folder(
    tmp_path: Path, internvl_tensors: Tensors, sentencepiece_model: bytes
) -> Callable[..., Path]:
    """A function that writes an InternVL-Chat checkpoint."""

    def make(tensors: Tensors | None = None, **how: Any) -> Path:
        return write_internvl(tmp_path, tensors or internvl_tensors, sentencepiece_model, **how)

    return make
