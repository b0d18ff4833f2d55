"""What is known of a user's own space before anything runs, and whether it is still the same."""

import itertools
import re
from collections.abc import Iterator

from analysis.bases import Base
from search_spaces.spaces import SPACES
from search_spaces.suggesters import OutsideError, PointTrial
from sweeps.engine.search.keys import trial_key
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger, Request
from sweeps.engine.spec.user_files import BadInputError
from trainables.common.names import unknown
from trainables.models.families.shape import LanguageShape
from trainables.specs import TrialSpec

MOST = 500  # points of a space that are built to check it
NAME = re.compile(r"[\w .:-]+")  # what MLflow takes


def check_space(sweep: SweepSpec) -> None:
    """Refuse a space of the user's own, or fields as factors, that make no trials.

    Up to `MOST` combinations of choices are built, numbers in the middle.

    Raises:
        BadInputError: says what is wrong with the file, the function, its trials or the factors.
    """
    if sweep.space in SPACES and not sweep.fields:
        return
    asked = set[str]()
    space, base = sweep.space_with(asked.add), sweep.base_trial
    for cell in sweep.cells:
        for point, _ in itertools.islice(space.branches(cell, base), MOST // len(sweep.cells) + 1):
            asked |= point.distributions.keys()
    if sweep.space in SPACES:
        return
    if strange := [name for name in asked if not NAME.fullmatch(name)]:
        raise BadInputError(
            f"the factor {strange[0]!r} of {space.summary} has a name that MLflow does not take; "
            "use letters, digits, spaces and . _ - :"
        )
    for name in dict.fromkeys((*sweep.strata, *sweep.choices, *sweep.ranges)):
        if name not in asked and name not in sweep.fields:
            what = f"factor of {space.summary}"
            raise BadInputError(unknown(what, name, sorted(asked)))


def check_same_space(sweep: SweepSpec, ledger: Ledger, shape: LanguageShape) -> None:
    """Refuse a function that makes other trials of the points than when the ledger asked for them.

    Whatever else its file does may change.

    Raises:
        BadInputError: names a trial, and what would be different.
    """
    if sweep.space in SPACES:
        return
    for name, request, now in _made_again(sweep, ledger):
        if trial_key(now, shape) != request.first_key:
            changes = Base(trial=request.spec).changes(Base(trial=now))
            raise BadInputError(
                f"{sweep.search_space.summary} makes another trial of {request.own_factors} than "
                f"when {name} was asked for ({'; '.join(changes)}), so results of the two would "
                "be mixed; undo the change, or give the sweep another name with --set name=NAME"
            )


def _made_again(sweep: SweepSpec, ledger: Ledger) -> Iterator[tuple[str, Request, TrialSpec]]:
    space, base = sweep.search_space, sweep.base_trial
    for name, request in ledger.requests().items():
        if request.origin in ("reference", "confirm"):
            continue
        point = PointTrial(request.params)
        try:
            spec = space.build(point, request.cell, base)
        except OutsideError:  # choices and ranges may change
            continue
        kept = {"seeds": request.spec.seeds, "rungs": request.spec.rungs}
        yield name, request, spec.model_copy(update=kept)
