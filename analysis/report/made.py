"""How a sweep's trials were made, and what went wrong with some of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from analysis.load import Trial
from trainables.records import Provenance
from trainables.specs import Frozen


class Made(Frozen):
    """Where records come from; each value with the number of records that name it.

    Attributes:
        versions: of prunesweep (with the commit, if it is known), Python and libraries.
        digests: of weights and conversations.
        places: devices and hosts.
        began: when the first trial began, as its record has it; `ended` when the last one ended.
    """

    versions: dict[str, dict[str, int]]
    digests: dict[str, dict[str, int]]
    places: dict[str, dict[str, int]]
    began: str = ""
    ended: str = ""


class Failure(Frozen):
    """Trials that failed alike, or that show one sign of failure; `example` is the first id."""

    what: str
    sentence: str
    trials: int
    example: str


def made(trials: Sequence[Trial]) -> Made:
    """Versions, digests and machines of the trials and of their closing reports."""
    found = [t.record.provenance for t in trials]
    found += [t.report.provenance for t in trials if t.report is not None]
    packages = sorted({name for p in found for name in p.packages})
    digests = {
        "weights": _counted(p.weights_digest for p in found),
        "conversations": _counted(p.data_digest for p in found),
    }
    devices = [t.record.cost.device for t in trials if t.record.cost is not None]
    return Made(
        versions={
            "prunesweep": _counted(map(_own, found)),
            "Python": _counted(p.python for p in found),
            **{name: _counted(p.packages.get(name) for p in found) for name in packages},
        },
        digests={name: counts for name, counts in digests.items() if counts},
        places={"device": _counted(devices), "host": _counted(p.host for p in found)},
        began=min((p.started for p in found if p.started), default=""),
        ended=max((p.finished for p in found if p.finished), default=""),
    )


def failures(trials: Sequence[Trial]) -> list[Failure]:
    """What failed, by the first line of its error, then the signs of failure; the most first."""
    errors: dict[str, list[str]] = {}
    signs: dict[str, list[Trial]] = {}
    for trial in trials:
        if (trial.record.error or "").strip():
            errors.setdefault(str(trial.record.error).strip().splitlines()[0], []).append(
                trial.trial_id
            )
        for sign in trial.record.signatures:
            signs.setdefault(sign.name, []).append(trial)
    found = [Failure(what="failed", sentence=text, trials=len(ids), example=ids[0])
             for text, ids in sorted(errors.items(), key=lambda item: -len(item[1]))]  # fmt: skip
    for name, group in sorted(signs.items(), key=lambda item: -len(item[1])):
        first = group[0]
        sentence = next(s.sentence for s in first.record.signatures if s.name == name)
        found.append(Failure(what=name, sentence=sentence, trials=len(group),
                             example=first.trial_id))  # fmt: skip
    return found


def _own(found: Provenance) -> str:
    return found.prunesweep + (f" ({found.git_commit[:12]})" if found.git_commit else "")


def _counted(values: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(v for v in values if v).most_common())
