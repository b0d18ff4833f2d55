"""The table of pruning methods, and plans that an earlier version wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from helpers.ledgers import LEDGER_V1

from trainables.common.files import read_json
from trainables.pruning.planning.methods import METHODS, criteria, method_named
from trainables.pruning.planning.planner import PrunePlan
from trainables.specs import Method, PruningSpec

OLD_PLANS = sorted(LEDGER_V1.glob("trials/*/plan.json"))


def test_the_table_and_the_specs_name_the_same_methods() -> None:
    assert list(METHODS) == list(get_args(Method))
    for row in METHODS.values():
        assert row.layers or row.width, "a method takes something away"


def test_every_method_is_scored_for_what_it_takes_away() -> None:
    asked = {name: criteria(PruningSpec(method=name)) for name in METHODS}
    assert asked == {
        "layerwise": ("block_influence",),
        "widthwise": ("taylor",),
        "hybrid": ("block_influence", "taylor"),
    }
    assert METHODS["hybrid"].arrays == ("block", "heads", "neurons")


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    said = r"'depthwise' is not a known pruning method.* Valid: layerwise, widthwise, hybrid\."
    with pytest.raises(ValueError, match=said):
        method_named(cast("Method", "depthwise"))
    with pytest.raises(ValueError, match="'layerwise', 'widthwise' or 'hybrid'"):
        PruningSpec.model_validate({"method": "depthwise"})


@pytest.mark.parametrize("path", OLD_PLANS, ids=lambda path: path.parent.name)
def test_a_plan_of_an_earlier_version_loads_with_the_digest_of_its_record(path: Path) -> None:
    plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert "sources" not in plain, "written before plans had sources"
    plan = read_json(path, PrunePlan)
    assert plan.sources == tuple((layer,) for layer in plain["layers"])
    assert plan.layers == tuple(plain["layers"])
    record = json.loads((path.parent / "record.json").read_text(encoding="utf-8"))
    assert plan.digest == record["pruning"]["plan_digest"]
