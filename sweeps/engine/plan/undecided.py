"""What would decide an undecided finding, as sweep files that are ready to run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from analysis.findings.answers import Answer
from analysis.findings.questions import Wanted
from search_spaces.factors import LOG_RATIO_OF, SIZES
from search_spaces.spaces import SPACES
from sweeps.engine.plan.ahead import questions
from sweeps.engine.search.fixed_points import resolve_point
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger, Request
from trainables.common.files import read_json, replace_file, writing
from trainables.evaluation.catalog import asked_tasks
from trainables.records import SWEEP

MISSING, WIDER = "findings.yaml", "findings-more.yaml"
NEEDED = ("method", "scope", "terms", "data_fraction")  # what a space must have to hold them
OF_SCOPE = ("terms", "data_fraction", "lora_rank", "lr_scale")


def write_sweep(
    folder: Path, file: str, sweep: SweepSpec, why: str = "would decide findings"
) -> Path:
    """Write the sweep as YAML beside the other files of the sweep in `folder`; `why` says of it."""
    text = yaml.safe_dump(
        sweep.model_dump(mode="json", exclude_defaults=True), sort_keys=False, width=100
    )
    head = f"# {len(sweep.designed)} trials that {why} of {folder.name}.\n"
    with writing("a sweep of what is missing", folder):
        replace_file(folder / file, (head + text).encode())
    return folder / file


def missing_sweep(folder: Path, wanted: Sequence[Wanted]) -> SweepSpec:
    """The sweep in `folder` with the wanted trials as its designed points, and nothing else to do.

    It has the name and the base of the sweep, so running it goes on with the same ledger. Each
    point has the settings of the trial that it is to be compared with.

    Raises:
        ValueError: a trial that the space cannot hold.
    """
    own = read_json(folder / SWEEP, SweepSpec)
    requests = _requests(folder.parent, (want.like for want in wanted if want.like))
    shipped = SPACES.get(own.space)
    kept = shipped is not None and all(name in shipped.stratifiable for name in NEEDED)
    space = own.space if kept else "frontier"
    known = (*SPACES[space].stratifiable, *SPACES[space].numbers)
    points = [_point(own, want, requests.get(want.like), known) for want in wanted]
    return _with_points(own, space, points)


def wider_sweep(folder: Path, answers: Sequence[Answer]) -> SweepSpec | None:
    """A sweep of its own that asks the same trials more questions: as many as decide.

    Those of the comparisons for which the tasks hold enough questions; None where they hold enough
    for none. Trials of other sweeps are left out.
    """
    own = read_json(folder / SWEEP, SweepSpec)
    evaluation = own.trial.evaluation
    every = evaluation.model_copy(update={"report_limit": None})
    tasks = len(asked_tasks(every))
    held = questions(own.trial.model_copy(update={"evaluation": every}), "report") / tasks
    needed, names = 0, dict[str, None]()
    for answer in answers:
        asked = evaluation.limit(answer.split) if answer.split else None
        if answer.more is not None and asked is not None and asked * answer.more <= held:
            needed = max(needed, math.ceil(asked * answer.more))
            names |= dict.fromkeys(n for n in answer.trials if n.startswith(f"{folder.name}/"))
    requests = _requests(folder.parent, names)
    points = [{**requests[n].cell, **requests[n].params} for n in names if n in requests]
    if not points:
        return None
    trial = {"evaluation": evaluation.model_copy(update={"report_limit": needed})}
    more = {"name": f"{own.name}-more", "trial": own.trial.model_copy(update=trial)}
    return _with_points(own.model_copy(update=more), own.space, points)


def _with_points(own: SweepSpec, space: str, points: Sequence[dict[str, Any]]) -> SweepSpec:
    """The sweep with these designed points alone, in a space that offers what they name."""
    shipped = SPACES.get(space)
    numbers = shipped.numbers if shipped else ()
    known = (*shipped.stratifiable, *numbers) if shipped else None
    ours = own.strata if space == own.space else ()
    strata = dict.fromkeys((*ours, "method", "ratio", *SIZES))
    cell = [name for name in strata if all(name in point for point in points)]
    offered = {**own.strata, **own.choices}
    ranges = {n: r for n, r in own.ranges.items() if known is None or n in known or "." in n}
    names = dict.fromkeys(name for point in points for name in point if name not in cell)
    factors = [name for name in names if name not in (*numbers, *ranges)]
    sweep = own.model_copy(
        update={
            "space": space,
            "strata": {name: _levels(points, name, offered) for name in cell},
            "choices": {name: _levels(points, name, offered) for name in factors},
            "ranges": ranges,
            "designed": tuple(points),
            "samples": 0,
            "startup_samples": None,
            "sampler": "auto",
            "priors": False,
            "learn_from": (),
            "confirm": None,
            "budget": None,
            "report_designed": True,
        }
    )
    sweep = SweepSpec.model_validate(sweep.model_dump(mode="json"))
    each = {resolve_point(sweep, p)[2].configuration: p for p in reversed(sweep.designed)}
    return sweep.model_copy(update={"designed": tuple(each.values())[::-1]})


def _levels(
    points: Sequence[Mapping[str, Any]], name: str, offered: Mapping[str, Sequence[Any]]
) -> tuple[Any, ...]:
    """What a factor offered, and what the points want of it."""
    return tuple(dict.fromkeys([*offered.get(name, ()), *(p[name] for p in points if name in p)]))


def _requests(storage: Path, names: Iterable[str]) -> dict[str | None, Request]:
    """What was asked for, by `sweep/trial`."""
    sweeps = sorted({name.partition("/")[0] for name in names})
    ledgers = {sweep: Ledger(storage, sweep).requests() for sweep in sweeps}
    return {f"{s}/{name}": r for s, every in ledgers.items() for name, r in every.items()}


def _point(
    own: SweepSpec, want: Wanted, like: Request | None, known: Sequence[str]
) -> dict[str, Any]:
    """A point with the wanted settings, and otherwise those of the trial that it is `like`."""
    settings = {**like.cell, **like.params} if like else {}
    gone = {"method", "ratio", *(OF_SCOPE if want.other_scope else ())}
    if like is None or like.spec.recovery.loss.terms != want.terms:
        gone |= {*LOG_RATIO_OF.values()}  # the weights of another mixture
    sized = {n: v for n, v in settings.items() if n in SIZES}
    point = {n: v for n, v in settings.items() if n not in gone and (n in known or "." in n)}
    amount = {"ratio": want.ratio} if want.size == f"{want.ratio:.2f}" else sized
    point = {"method": want.method, **amount, **point, "scope": want.scope}
    if want.scope == "none":
        return {n: v for n, v in point.items() if n not in OF_SCOPE}
    recovery = own.trial.recovery
    point["terms"] = want.terms
    if want.data_fraction is not None:
        point["data_fraction"] = want.data_fraction
    if want.scope != "joint":
        point.pop("lora_rank", None)
    # What the sweep's own space does not vary is as in its base.
    mine = SPACES[own.space].stratifiable if own.space in SPACES else ()
    if "data_fraction" not in mine:
        point.setdefault("data_fraction", recovery.data_fraction)
    if "lora_rank" not in mine and want.scope == "joint":
        point.setdefault("lora_rank", recovery.lora_rank)
    return point
