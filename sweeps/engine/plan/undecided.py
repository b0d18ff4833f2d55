"""The trials for lack of which a finding is undecided, as a sweep file that is ready to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from analysis.findings.questions import Wanted
from search_spaces.factors import LOG_RATIO_OF, SIZES
from search_spaces.spaces import SPACES
from sweeps.engine.search.fixed_points import resolve_point
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger, Request
from trainables.common.files import read_json, replace_file, writing
from trainables.records import SWEEP

FILE = "findings.yaml"
NEEDED = ("method", "scope", "terms", "data_fraction")  # what a space must have to hold them
OF_SCOPE = ("terms", "data_fraction", "lora_rank", "lr_scale")


def write_undecided(folder: Path, wanted: Sequence[Wanted]) -> tuple[Path, int]:
    """Write the sweep of `undecided_sweep` beside the sweep's other files.

    Returns:
        Its path and the number of its trials.
    """
    sweep = undecided_sweep(folder, wanted)
    path, count = folder / FILE, len(sweep.designed)
    text = yaml.safe_dump(
        sweep.model_dump(mode="json", exclude_defaults=True), sort_keys=False, width=100
    )
    head = f"# {count} trials without which findings of {sweep.name} are undecided.\n"
    with writing("the missing trials", folder):
        replace_file(path, (head + text).encode())
    return path, count


def undecided_sweep(folder: Path, wanted: Sequence[Wanted]) -> SweepSpec:
    """The sweep in `folder` with the wanted trials as its designed points, and nothing else to do.

    It has the name and the base of the sweep, so running it goes on with the same ledger. Each
    point has the settings of the trial that it is to be compared with.

    Raises:
        ValueError: a trial that the space cannot hold.
    """
    own = read_json(folder / SWEEP, SweepSpec)
    requests = Ledger(folder.parent, folder.name).requests()
    shipped = SPACES.get(own.space)
    kept = shipped is not None and all(name in shipped.stratifiable for name in NEEDED)
    space = SPACES[own.space if kept else "frontier"]
    known = (*space.stratifiable, *space.numbers)
    points = [_point(own, want, requests.get(want.like or ""), known) for want in wanted]
    cell = ("method", *(name for name in ("ratio", *SIZES) if any(name in p for p in points)))
    factors = dict.fromkeys(name for point in points for name in point if name not in cell)
    offered = {**own.strata, **own.choices}
    ranges = {n: r for n, r in own.ranges.items() if n in known or "." in n}
    sweep = own.model_copy(
        update={
            "space": own.space if kept else "frontier",
            "strata": {name: _levels(points, name) for name in cell},
            "choices": {
                name: _levels(points, name, offered.get(name, ()))
                for name in factors
                if name not in ranges and name not in space.numbers
            },
            "ranges": ranges,
            "designed": tuple(points),
            "samples": 0,
            "sampler": "auto",
            "priors": False,
            "learn_from": (),
            "startup_samples": None,
            "confirm": None,
            "budget": None,
            "report_designed": True,
        }
    )
    sweep = SweepSpec.model_validate(sweep.model_dump(mode="json"))
    each = {resolve_point(sweep, p)[2].configuration: p for p in reversed(sweep.designed)}
    return sweep.model_copy(update={"designed": tuple(each.values())[::-1]})


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


def _levels(
    points: Sequence[Mapping[str, Any]], name: str, first: Sequence[Any] = ()
) -> tuple[Any, ...]:
    return tuple(dict.fromkeys([*first, *(p[name] for p in points if name in p)]))
