"""Scores as a file."""

from __future__ import annotations

import numpy as np
import pytest

from trainables.pruning.scores import ImportanceScores, ScoreMetadata


def _scores():
    metadata = ScoreMetadata(
        method="widthwise", weights_digest="a", data_digest="b", samples=3, tokens=20, batches=1
    )
    heads = np.arange(6, dtype=np.float32).reshape(2, 3)
    return ImportanceScores(metadata, heads=heads, neurons=heads.T[:2] / 7)  # not contiguous


def test_round_trip(tmp_path):
    scores = _scores()
    scores.save(tmp_path / "s.safetensors")
    again = ImportanceScores.load(tmp_path / "s.safetensors")
    assert again.metadata == scores.metadata
    assert again.block is None
    np.testing.assert_array_equal(again.heads, scores.heads)
    np.testing.assert_array_equal(again.neurons, scores.neurons)
    assert [path.name for path in tmp_path.iterdir()] == ["s.safetensors"]


@pytest.mark.parametrize("content", [None, b"", b"\0" * 100])
def test_unreadable_file(tmp_path, content):
    path = tmp_path / "s.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="no readable importance scores"):
        ImportanceScores.load(path)
