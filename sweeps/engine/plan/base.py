"""The base of a sweep as its files are now, and what a run says of another one; torch-free."""

from collections.abc import Iterator

from analysis.bases import CONVERSATIONS, PICTURES, Base
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import BadInputError
from trainables.common.weights import checkpoint_parts, weights_glance
from trainables.evaluation.benchmarks.copies import find_copy
from trainables.evaluation.benchmarks.preparing import public
from trainables.evaluation.own.preparing import own_contents
from trainables.models.families.registry import model_folder
from trainables.recovery.data.conversations import ConversationData
from trainables.specs import ModelSpec

SHOWN = 8  # changes in one message


def base_of(sweep: SweepSpec, data: ConversationData | None) -> Base:
    """The trial's settings, and digests of its files that are quickly read.

    Of pictures and weights it takes samples: a hundred conversations' files, a KiB of every tensor.
    What is not here (a model of the hub, pictures that only workers see) is left out.

    Args:
        sweep: the sweep.
        data: its conversations; None where they are generated.
    """
    trial = sweep.trial
    models = {"trial.model": trial.model}
    if trial.recovery.teacher.model is not None:
        models["trial.recovery.teacher.model"] = trial.recovery.teacher.model
    found = {k: v for name, model in models.items() for k, v in _model(name, model)}
    if data is not None:
        found[CONVERSATIONS] = data.digest
        if (pictures := data.picture_digest()) is not None:
            found[PICTURES] = pictures
    settings = trial.evaluation
    if settings.data_folder is not None:
        for task in public(settings.tasks):
            found[f"the copy of {task}"] = find_copy(settings.data_folder, task).digest
    for task, content in own_contents(settings).items():
        found[f"the questions of {task}"] = content
    return Base(trial=trial, contents=found)


def changed_base(sweep: SweepSpec, base: Base, ledger: Ledger) -> str:
    """A sentence on what is other than in the trials of the sweep so far; empty if nothing is."""
    known = ledger.bases.base
    changes = known.changes(base) if known is not None and ledger.requests() else []
    if not changes:
        return ""
    more = f"; and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return (
        f"sweep {sweep.name!r} has {len(ledger.requests())} trials that started from something "
        f"else: {'; '.join(changes[:SHOWN])}{more}"
    )


def take_base(sweep: SweepSpec, base: Base, ledger: Ledger, new_base: bool = False) -> None:
    """Let the trials of this base count in the ledger; with `new_base` also if it is another one.

    Raises:
        BadInputError: it is another one; says what is different.
    """
    if (said := changed_base(sweep, base, ledger)) and not new_base:
        raise BadInputError(
            f"{said}. Such trials are not ranked together: give the sweep another name with "
            "--set name=NAME, or go on with --new-base, which leaves the earlier ones out of its "
            "search and of every ranking"
        )
    ledger.take(base)


def _model(name: str, model: ModelSpec) -> Iterator[tuple[str, str]]:
    folder = model_folder(model)
    if folder is None:
        return
    yield f"{name} (weights)", weights_glance(folder)
    for part, content in checkpoint_parts(folder).items():
        yield f"{name} ({part})", content
