"""What a trial will cost, while the sweep learns it; and whether its budget can hold its points."""

from collections.abc import Sequence

from sweeps.engine.plan.ahead import works
from sweeps.engine.plan.forecast import ENOUGH, trial_seconds
from sweeps.engine.plan.rates import Known, first_known, rates_of
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import BadInputError
from trainables.models.families.shape import LanguageShape
from trainables.specs import TrialSpec

MORE = 1.2  # times the records, before the rates are found anew


class Expectation:
    """Forecast device-seconds of single trials, from the records of a ledger as they come in.

    Args:
        sweep: the sweep.
        shape: of its dense model.
        ledger: its own.
        conversations: in the data.
        teacher_cached: whether the teacher's answers are kept.
        sources: what is known before its trials tell (`known_before`).
    """

    def __init__(
        self,
        sweep: SweepSpec,
        shape: LanguageShape,
        ledger: Ledger,
        conversations: int,
        teacher_cached: bool,
        sources: Sequence[Known],
    ) -> None:
        self._ledger, self._shape, self._conversations = ledger, shape, conversations
        self._cached = teacher_cached
        self._sources = sources
        self._known, self._of = first_known(self._sources), 0
        ledger.records()  # from here on the agenda reads each record when its trial ends

    def __call__(self, spec: TrialSpec) -> float:
        """Of one trial, in a process that runs already."""
        enough = max(ENOUGH, MORE * self._of)
        if len(self._ledger.ended()) >= enough:
            ended = self._ledger.ended().values()
            done = [r for r in ended if r.status == "completed" and r.cost]
            if len(done) >= enough:
                measured = Known(rates_of(done, self._shape), f"{len(done)} finished trials")
                self._known, self._of = first_known((measured, *self._sources)), len(done)
        stages = trial_seconds(spec, self._known[0], self._shape, self._conversations, self._cached)
        return sum(stages.values())

    @property
    def basis(self) -> str:
        """What the recovery's rate follows from."""
        return self._known[1]["recovery"]


def check_budget(sweep: SweepSpec, ledger: Ledger, expected: Expectation) -> None:
    """Refuse a sweep that has not begun and whose points that always run do not fit.

    Raises:
        BadInputError: says what they cost.
    """
    budget = sweep.budget
    if budget is None or ledger.records():
        return
    fixed = [w.spec for w in works(sweep.model_copy(update={"samples": 0, "confirm": None}), [])]
    each = [(expected(spec), spec.workers) for spec in fixed]
    hours = sum(seconds for seconds, _ in each) / 3600
    longest = max((seconds / workers for seconds, workers in each), default=0.0) / 3600
    price = budget.price_per_device_hour or 0.0
    for name, limit, cost, text in (
        ("trials", budget.trials, len(fixed), f"are {len(fixed)}"),
        ("device_hours", budget.device_hours, hours, f"come to {hours:.3g} device-hours"),
        ("money", budget.money, hours * price, f"come to {hours * price:.3g}"),
        ("wall_hours", budget.wall_hours, longest, f"take {longest:.3g} hours, the longest alone"),
    ):
        if limit is not None and cost > limit:
            basis = "" if name == "trials" else f" ({expected.basis})"
            raise BadInputError(
                f"budget.{name}={limit:g}, but the trials that always run (dense model, "
                f"references, designed points, priors) {text}{basis}; raise it, or give the sweep "
                "fewer of them"
            )
