"""Scores as a file."""

from __future__ import annotations

import numpy as np
import pytest

from trainables.pruning.planning.scores import ImportanceScores, ScoreMetadata


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


def _layers(weights="a", data="b"):
    metadata = ScoreMetadata(
        method="layerwise", weights_digest=weights, data_digest=data, batches=2, settings={"x": 1}
    )
    return ImportanceScores(metadata, block=np.ones(2, dtype=np.float32))


def test_merged_scores_hold_both_and_say_where_each_comes_from(tmp_path):
    groups = _scores()
    both = ImportanceScores.merged(_layers(), groups)
    assert both.block.tolist() == [1, 1]
    assert both.heads is groups.heads
    assert (both.metadata.method, both.metadata.batches) == ("hybrid", 3)
    assert both.metadata.settings == {"layers": {"x": 1}, "groups": {}}
    both.save(tmp_path / "s.safetensors")
    assert ImportanceScores.load(tmp_path / "s.safetensors").metadata == both.metadata


@pytest.mark.parametrize("other", [{"weights": "z"}, {"data": "z"}])
def test_scores_of_other_weights_or_data_do_not_merge(other):
    with pytest.raises(ValueError, match=f"different {next(iter(other))}_digests"):
        ImportanceScores.merged(_layers(**other), _scores())
    assert ImportanceScores.merged(_layers(data=""), _scores()).metadata.data_digest == "b"
