"""What all trials of a sweep start from, and which of them may be ranked together.

`SweepSpec.trial` says what every trial is, with the files that it names; everything else in a sweep
says which trials run. So only the trial is a sweep's *base*: samples, strata, choices, designed
points, objectives, limits, sampler and its seed, rungs, budget, confirmations and resources change
as one likes, and so does how the work is done (`FREE`). A sweep that goes on from another base
(`prunesweep run --new-base`) keeps the earlier trials, but neither its search nor a ranking sees
them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from trainables.common.files import read_json
from trainables.records import REQUEST, TrialRecord
from trainables.specs import Frozen, TrialSpec

BASES = "bases.json"
# How the work is done, or what is looked at besides: no trial comes out differently for them.
FREE = frozenset(
    """
    workers isolate rungs
    data.skip_broken data.workers data.linked_folders
    evaluation.data_folder evaluation.sharded evaluation.blank_image_limit
    recovery.gradient_checkpointing recovery.checkpoint_every_steps
    recovery.teacher.mode recovery.teacher.max_cache_gib
    """.split()
)
CONVERSATIONS = "trial.data.conversations"
PICTURES = "its pictures"
SHOWN = 12  # characters of a digest


class Base(Frozen):
    """What a trial starts from.

    Attributes:
        trial: the settings.
        contents: digests of what lies in the files that they name, as far as it is known.
    """

    trial: TrialSpec
    contents: dict[str, str] = Field(default_factory=dict)

    def changes(self, later: Base) -> list[str]:
        """What `later` has otherwise, a line each: `trial.data.max_tokens: 2048 -> 512`."""
        old, new = (base.trial.model_dump(mode="json") for base in (self, later))
        found = [
            f"trial.{name}: {_said(a)} -> {_said(b)}"
            for name, a, b in differing(old, new)
            if name not in FREE
        ]
        old, new = self.contents, later.contents
        other = {name for name in old.keys() & new.keys() if old[name] != new[name]}
        if CONVERSATIONS in other:  # of other samples, so they are other pictures
            other.discard(PICTURES)
        said = (f"content of {n}: {old[n][:SHOWN]} -> {new[n][:SHOWN]}" for n in sorted(other))
        return [*found, *said]


class Bases(Frozen):
    """The content of `bases.json`: every base of a sweep, oldest first.

    Attributes:
        current: the place of the one whose trials count.
        bases: a trial's request names its place; before there were bases it was 0.
    """

    current: int = 0
    bases: tuple[Base, ...] = ()

    @property
    def base(self) -> Base | None:
        """The one whose trials count; None where nothing is known of it."""
        return self.bases[self.current] if self.bases else None

    def with_current(self, base: Base) -> Bases:
        """These bases with `base` as the current one, in its old place if it was there before."""
        for place, known in enumerate(self.bases):
            if not known.changes(base):
                base = Base(trial=base.trial, contents={**base.contents, **known.contents})
                kept = (*self.bases[:place], base, *self.bases[place + 1 :])
                return Bases(current=place, bases=kept)
        return Bases(current=len(self.bases), bases=(*self.bases, base))


def read_bases(folder: Path) -> Bases:
    """The bases of the sweep in a folder; none where none were written."""
    path = folder / BASES
    return read_json(path, Bases) if path.exists() else Bases()


def differing(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every plain value that differs, by its dotted name; what is not set has values of None."""
    if not isinstance(old, dict) and not isinstance(new, dict):
        if old != new:
            yield name, old, new
        return
    old, new = (value if isinstance(value, dict) else {} for value in (old, new))
    for key in {**old, **new}:
        yield from differing(old.get(key), new.get(key), f"{name}.{key}" if name else key)


def _said(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_said, value))}]"
    return "none" if value is None else str(value)


def other_bases(folder: Path, records: Sequence[TrialRecord]) -> dict[str, list[str]]:
    """Ids of a sweep's trials that must not be ranked with the rest, by what is different.

    They are of another base, or read another file of conversations than the base has (or than its
    newest trial, where the base does not say).
    """
    bases = read_bases(folder)
    several = len(bases.bases) > 1
    places = [_place(folder, r) if several else bases.current for r in records]
    data = bases.base.contents.get(CONVERSATIONS) if bases.base else None
    if data is None:
        own = (r.provenance for r, n in zip(records, places, strict=True) if n == bases.current)
        known = [(p.finished, p.data_digest) for p in own if p.data_digest is not None]
        data = max(known)[1] if known else None
    found: dict[str, list[str]] = {}
    for record, place in zip(records, places, strict=True):
        read = record.provenance.data_digest
        if place < 0:
            why = f"{REQUEST} cannot be read"
        elif place != bases.current and bases.base is not None:
            why = "; ".join(bases.bases[place].changes(bases.base)) or "begun anew"
        elif read not in (None, data):
            why = f"content of {CONVERSATIONS}: {str(read)[:SHOWN]} -> {str(data)[:SHOWN]}"
        else:
            continue
        found.setdefault(why, []).append(record.trial_id)
    return found


def note_on(others: Mapping[str, Sequence[str]]) -> str:
    """A sentence on the trials of other bases, by what is different; empty where there are none."""
    if not others:
        return ""
    count = sum(map(len, others.values()))
    said = " | ".join(f"{len(n)}: {why}" if len(others) > 1 else why for why, n in others.items())
    who = "trial of another base is" if count == 1 else "trials of another base are"
    return f"{count} {who} left out of every ranking ({said})."


def _place(folder: Path, record: TrialRecord) -> int:
    """The place of a trial's base, as its request names it; below 0 where that cannot be read."""
    path = folder / "trials" / record.trial_id / REQUEST
    try:
        return int(json.loads(path.read_text(encoding="utf-8")).get("base", 0))
    except (OSError, ValueError):
        return -1


def check_together(folders: Sequence[Path], sweeps: Sequence[Mapping[str, Any]]) -> None:
    """Refuse sweeps whose trials cannot be taken together.

    Args:
        folders: in the ledger.
        sweeps: their specs, as data.

    Raises:
        ValueError: they are of several models, or scored on other tasks.
    """

    def say(what: str, read: Callable[[Mapping[str, Any]], Any]) -> None:
        values = [read(sweep) for sweep in sweeps]
        for folder, value in zip(folders, values, strict=True):
            if value != values[0]:
                raise ValueError(
                    f"sweeps {folders[0].name} and {folder.name} cannot be taken together: {what} "
                    f"is {values[0]} in the one and {value} in the other; ask for each by itself"
                )

    say("the model", lambda sweep: sweep.get("trial", {}).get("model", {}).get("path"))
    say(
        "the list of tasks", lambda sweep: sweep.get("trial", {}).get("evaluation", {}).get("tasks")
    )
