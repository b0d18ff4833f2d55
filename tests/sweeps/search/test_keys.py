"""Keys stand in ledgers for good: those of finished sweeps must come out the same again."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.agendas import drain, finish

from sweeps.engine.search import keys
from sweeps.engine.search.fixed_points import fixed_points
from sweeps.engine.search.keys import trial_key
from sweeps.engine.spec.ledger import Request
from sweeps.engine.spec.loading import load_sweep
from trainables.models.families.registry import language_shape
from trainables.specs import (
    DataSpec,
    EvaluationSpec,
    LossSpec,
    ModelSpec,
    PruningSpec,
    RecoverySpec,
    TrialSpec,
)

SHAPE = language_shape(ModelSpec())
# As the code at commit 33debb9 wrote them into the ledger of `quickstart`, in the order they run.
QUICKSTART = (
    "f2ebfdaea3b59d63", "2572fa78a3187635", "4aa2c1522e693498", "3c8aa0ef9041d51d",
    "85987cb934821e7d", "59be8cfa056e2ec6", "7c6dff95b4d58cec", "2b7d2a94f9cbf779",
    "22272ea8a3b89caf", "2572fa78a3187635", "6f455cf2f0362873", "0c673ac16f5e761e",
    "b2b3d01097aa4ee8",
)  # fmt: skip
# The last of `sensitivity`: a projector, cross-entropy, other seeds, another budget.
SENSITIVITY = ("a12a1d4d2f74dc33", "978a528dcbff9f99", "343c7b9a1202ea8c")


def test_the_keys_of_older_ledgers() -> None:
    for name, expected in (("quickstart", QUICKSTART), ("sensitivity", SENSITIVITY)):
        found = [trial_key(spec, SHAPE) for *_, spec in fixed_points(load_sweep(name))]
        assert tuple(found[-len(expected) :]) == expected


def test_a_finished_older_ledger_has_nothing_left_to_run(make_agenda: Any) -> None:
    sweep = load_sweep("quickstart").model_copy(update={"samples": 0})
    agenda, ledger = make_agenda(sweep)
    points = dict(zip(QUICKSTART, fixed_points(sweep), strict=True))
    for index, (key, (origin, cell, params, spec)) in enumerate(points.items()):
        name = f"{index:03d}-old"
        request = Request(
            trial_id=name,
            index=index,
            origin=origin,
            key=key,
            cell=dict(cell),
            params=params,
            spec=spec,
        )
        ledger.add(request)
        finish(agenda._trial_job(request))
    assert len(ledger.requests()) == len(set(QUICKSTART))
    assert drain(agenda) == []


def test_a_field_that_came_later_counts_only_with_a_value_of_its_own() -> None:
    base = TrialSpec(recovery=RecoverySpec(scope="joint", loss=LossSpec(beta=1.0)))

    def key(**update: Any) -> str:
        return trial_key(base.model_copy(update=update), SHAPE)

    assert key(evaluation=EvaluationSpec(search_share=0.4)) != key()
    assert key(evaluation=EvaluationSpec(subset_seed=1)) != key()
    assert key(evaluation=EvaluationSpec(rung_limit=7), rungs=(0.5,)) != key(rungs=(0.5,))
    assert key(evaluation=EvaluationSpec(rung_limit=7)) == key(), "without rungs it means nothing"
    assert key(quantization="nf4") not in (key(), key(quantization="llm_int8"))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("EvaluationSpec", "max_new_tokens"),
        ("PruningSpec", "steps"),
        ("RecoverySpec", "clip_norm"),
        ("LossSpec", "js_weight"),
        ("ModelSpec", "revision"),
        ("DataSpec", "max_tokens"),
    ],
)
def test_a_later_field_leaves_the_key_of_its_default_alone(
    spec: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key without the field is that of the time before it, and its default must not enter."""
    base = TrialSpec(
        pruning=PruningSpec(ratio=0.3),
        recovery=RecoverySpec(scope="joint", loss=LossSpec(beta=1.0, logits="js")),
    )
    with_it = trial_key(base, SHAPE)
    monkeypatch.setitem(keys.FIRST, spec, keys.FIRST[spec] - {field})
    before = trial_key(base, SHAPE)
    assert before != with_it
    changed = {
        "EvaluationSpec": {"evaluation": EvaluationSpec(max_new_tokens=3)},
        "PruningSpec": {"pruning": PruningSpec(ratio=0.3, steps=2)},
        "RecoverySpec": {"recovery": base.recovery.model_copy(update={"clip_norm": 1.0})},
        "LossSpec": {
            "recovery": base.recovery.model_copy(
                update={"loss": LossSpec(beta=1.0, logits="js", js_weight=0.3)}
            )
        },
        "ModelSpec": {"model": ModelSpec(revision="a")},
        "DataSpec": {"data": DataSpec(max_tokens=99)},
    }[spec]
    assert trial_key(base.model_copy(update=changed), SHAPE) != before


def test_where_the_work_is_done_is_not_in_the_key() -> None:
    base = trial_key(TrialSpec(), SHAPE)
    for evaluation in (
        EvaluationSpec(data_folder="/somewhere"),
        EvaluationSpec(sharded=True),
        EvaluationSpec(report_limit=3),
    ):
        assert trial_key(TrialSpec(evaluation=evaluation), SHAPE) == base
