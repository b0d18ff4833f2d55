"""How many samples it takes to tell two trials apart, and what a given number can tell.

On the same n samples of each of T tasks, the difference of two averages has a variance v / n; v
holds how often the models disagree, and that questions about one image do so together (the design
effect). A true difference d is seen with a power of 80 % by a two-sided test of 5 % when
    d >= (z_0.975 + z_0.8) * sqrt(v / n) = 2.80 * sqrt(v / n),  that is  n >= v * (2.80 / d)^2.
v comes from pairs of finished trials. Before there are any it is that of two models that answer
independently of each other and are right half of the time: 2 * 50^2 / T, an image per question.
Students of one dense model agree far more often, so that this is an upper bound in practice.
"""

import itertools
import math
from collections.abc import Sequence
from statistics import NormalDist, median
from typing import Literal, NamedTuple

from analysis.load import Trial
from trainables.specs import EvaluationSpec, Frozen, Split

POINTS = 1.0  # the difference of averages that should be seen
POWER, SIGNIFICANCE = 0.8, 0.05
FACTOR = NormalDist().inv_cdf(1 - SIGNIFICANCE / 2) + NormalDist().inv_cdf(POWER)
WORST_VARIANCE = 2 * 50.0**2  # of a difference of two independent coin tosses, 0 or 100

Use = Literal["search_limit", "rung_limit", "report_limit"]


class SampleSize(Frozen):
    """What a limit can tell apart, and what one point would take.

    Attributes:
        use: the limit of the evaluation spec.
        samples: samples per task; None where all are used and their number is not known yet.
        detectable: difference of averages in points that `samples` show with 80 % power.
        needed: samples per task that show `POINTS`.
        needed_images: images behind them, all tasks together; None before any trial.
        design_effect: variance over what independent questions would give; None before any trial.
        pairs: pairs of finished trials that this follows from; 0 for the assumption.
    """

    use: Use
    samples: int | None
    detectable: float | None
    needed: int
    needed_images: int | None
    design_effect: float | None
    pairs: int


class Spread(NamedTuple):
    """How far two trials' averages vary: `unit` is n times the variance of their difference.

    `samples` per task and `images` are those of the trials' own tables.
    """

    unit: float
    samples: float
    images: int
    design_effect: float
    pairs: int


def sample_sizes(
    evaluation: EvaluationSpec, tasks: int, rungs: bool, trials: Sequence[Trial] = ()
) -> tuple[SampleSize, ...]:
    """What each limit of `evaluation` can tell, in the order search, rung, report.

    `tasks` is the number of reported ones; `rungs` whether the sweep judges trials at rungs; the
    tables of its finished `trials` say how models differ.
    """
    search, report = pair_spread(trials, "search"), pair_spread(trials, "report")
    rows = [_size("search_limit", evaluation.search_limit, search or report, search, tasks)]
    if rungs:
        rung = evaluation.limit_at_rungs
        rows.append(_size("rung_limit", rung, search or report, search, tasks))
    rows.append(_size("report_limit", evaluation.report_limit, report or search, report, tasks))
    return tuple(rows)


def pair_spread(trials: Sequence[Trial], split: Split) -> Spread | None:
    """The median over pairs of finished trials of one target ratio; of any, where there are none.

    Rungs and the sampler compare trials of one size, which disagree less often than others.
    None with fewer than two trials that were asked the same questions about several images.
    """
    import numpy as np

    from analysis.samples import average_differences, same_questions, trial_samples

    done = [t for t in trials if t.record.status == "completed"]
    tables = [trial_samples(trial, split) for trial in done]
    members = next(iter(same_questions(tables)), [])
    found = [t for m in members if (t := tables[m])]
    if not found:
        return None
    variances, images = average_differences(found)
    ratios = [done[m].ratio_target for m in members]
    pairs = list(itertools.combinations(range(len(found)), 2))
    alike = [(a, b) for a, b in pairs if ratios[a] == ratios[b]] or pairs
    naive = {(a, b): np.square(found[a].influences - found[b].influences).sum() for a, b in alike}
    effects = [float(variances[pair] / one) for pair, one in naive.items() if one > 0]
    if images < 2 or not effects:
        return None
    samples = found[0].samples / len(found[0].tasks)
    return Spread(
        unit=samples * median(float(variances[pair]) for pair in alike),
        samples=samples,
        images=images,
        design_effect=median(effects),
        pairs=len(alike),
    )


def power_lines(sizes: Sequence[SampleSize]) -> list[str]:
    """The sizes as sentences, and what they rest on."""
    lines = []
    for size in sizes:
        needs = f"{POINTS:g} point needs {_rounded(size.needed):,} samples per task"
        if size.needed_images is not None:
            needs += f" ({_rounded(size.needed_images):,} images)"
        if size.samples is None:
            lines.append(f"{size.use} is all samples: {needs}.")
        else:
            lines.append(
                f"{size.use}: {size.detectable:.1f} points of the average can be told apart at "
                f"{size.samples:,} samples per task; {needs}."
            )
    known = max(sizes, key=lambda size: size.pairs)
    rests = (
        f"median of {known.pairs} pairs of finished trials, whose shared images make the variance "
        f"{known.design_effect:.2g} times that of independent questions"
        if known.pairs
        else "before any trial: models that answer independently of each other and are right half "
        "of the time, so an upper bound; finished trials will say how far below"
    )
    return [*lines, f"({POWER:.0%} power, two-sided {SIGNIFICANCE:.0%}, paired; {rests})"]


def _size(
    use: Use, limit: int | None, spread: Spread | None, own: Spread | None, tasks: int
) -> SampleSize:
    """What `limit` can tell; `own` is the spread of this very split, which shows its full size."""
    unit = spread.unit if spread else WORST_VARIANCE / tasks
    samples = limit if limit is not None else round(own.samples) if own else None
    needed = math.ceil(unit * (FACTOR / POINTS) ** 2)
    return SampleSize(
        use=use,
        samples=samples,
        detectable=FACTOR * math.sqrt(unit / samples) if samples else None,
        needed=needed,
        needed_images=math.ceil(needed * spread.images / spread.samples) if spread else None,
        design_effect=spread.design_effect if spread else None,
        pairs=spread.pairs if spread else 0,
    )


def _rounded(count: int) -> int:
    """Up to two significant digits: an estimate of a variance is not known better."""
    scale = int(10 ** max(0, math.floor(math.log10(max(count, 1))) - 1))
    return -(-count // scale) * scale
