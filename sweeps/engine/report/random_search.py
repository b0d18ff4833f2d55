"""How a random search would have gone where trials of this model were measured before."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from analysis.course import Moment, corners, course
from analysis.load import Trial, load_trials
from sweeps.engine.spec import SweepSpec

FEWEST = 10  # completed trials of which a course says something
MOST = 200  # that are simulated, or the page would wait for them


def random_course(sweep: SweepSpec, trials: Sequence[Trial]) -> tuple[Moment, ...]:
    """The course of a simulated random search of as many trials; empty where no table tells.

    The table of truth holds trials of one model, one set of conversations and one recovery budget,
    over one space; of other sweeps it says nothing.
    """
    own = [t for t in trials if not t.is_reference and not t.is_confirmation]
    if not FEWEST <= len(own) <= MOST or sweep.space != "frontier":
        return ()
    from sweeps.engine.simulate.clock import simulate
    from sweeps.engine.simulate.table import Table
    from sweeps.engine.spec.loading import load_sweep

    measured = load_sweep("search_table").trial
    if any(getattr(sweep.trial, n) != getattr(measured, n) for n in ("model", "data", "recovery")):
        return ()
    changed = {
        "sampler": "random",
        "rungs": None,
        "budget": None,
        "confirm": None,
        "learn_from": (),
    }
    plain = sweep.model_copy(update={**changed, "limits": {}})
    try:
        with tempfile.TemporaryDirectory(prefix="prunesweep-report-") as folder:
            ended = [e.trial_id for e in simulate(plain, Table.shipped(), Path(folder), 1)]
            found = {t.trial_id: t for t in load_trials(Path(folder) / sweep.name)}
    except ValueError:  # beyond what the table holds
        return ()
    return course([found[name] for name in ended], corners(trials))
