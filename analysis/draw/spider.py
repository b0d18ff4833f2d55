"""Retention task by task of a few trials: what a spider plot shows (the study's Fig. 1, right)."""

from collections.abc import Sequence

from analysis.frontier import Frontier
from analysis.load import Trial
from analysis.published.study import published_rows
from analysis.tables import number
from trainables.common.names import nearest
from trainables.records import TaskScore
from trainables.specs import Frozen, Split

MOST_LINES = 6  # more cannot be told apart
FEWEST_TASKS = 3


class Spoke(Frozen):
    """Retention on one task: score over the dense base's; None where that is 0.

    The 95 % interval is that of the paired difference over the dense score; None without one.
    """

    retention: float | None
    low: float | None = None
    high: float | None = None


class SpiderLine(Frozen):
    """One model around the plot; `trial_id` is None for a published one."""

    label: str
    trial_id: str | None
    spokes: tuple[Spoke, ...]


class Spider(Frozen):
    """Retention by task, in the order of `tasks`; `omitted` are ids that were left out."""

    sweep: str
    split: Split
    tasks: tuple[str, ...]
    lines: tuple[SpiderLine, ...]
    published: tuple[SpiderLine, ...] = ()
    omitted: tuple[str, ...] = ()


def default_trials(frontier: Frontier) -> list[str]:
    """The frontier's own trials; `MOST_LINES` of them, evenly from small to large, if more."""
    own = [p.trial_id for p in frontier.points if p.origin != "reference"]
    if len(own) <= MOST_LINES:
        return own
    return [own[round(k * (len(own) - 1) / (MOST_LINES - 1))] for k in range(MOST_LINES)]


def frontier_spider(trials: Sequence[Trial], frontier: Frontier) -> Spider | None:
    """The spider of `default_trials`; None with fewer than three tasks, or without trials."""
    own = [p.trial_id for p in frontier.points if p.origin != "reference"]
    chosen = default_trials(frontier)
    by_id = {t.trial_id: t for t in trials}
    evaluation = by_id[own[0]].evaluation(frontier.split) if own else None
    if evaluation is None or len(evaluation.tasks) < FEWEST_TASKS:
        return None
    omitted = tuple(name for name in own if name not in chosen)
    return _spider([by_id[name] for name in chosen], trials, frontier.split, omitted)


def chosen_spider(
    trials: Sequence[Trial], names: Sequence[str], split: Split, published: str | None = None
) -> Spider:
    """The spider of the trials called `names`, and of a published model if one is given.

    Args:
        trials: every trial of the sweep.
        names: ids of those to draw.
        split: the split of the scores.
        published: `llava-v1.5-7b` or `bunny-v1.0-3b`; its rows with recovery are drawn over the
            tasks that both have.

    Raises:
        ValueError: an unknown trial or model, a trial without scores, too few tasks in common.
    """
    by_id = {t.trial_id: t for t in trials}
    for name in names:
        if name not in by_id:
            raise ValueError(
                f"no trial '{name}' in this sweep{nearest(name, by_id)}; `prunesweep status SWEEP` "
                "lists them"
            )
        if by_id[name].evaluation(split) is None:
            raise ValueError(
                f"trial '{name}' has no scores on the {split} split; leave it out, or take --split "
                f"{'search' if split == 'report' else 'report'}"
            )
    if not names:
        raise ValueError("no trial of this sweep is on the frontier yet; name the trials to draw")
    if len(names) > MOST_LINES:
        raise ValueError(f"{len(names)} trials cannot be told apart; name up to {MOST_LINES}")
    spider = _spider([by_id[name] for name in names], trials, split, ())
    if published is not None:
        spider = _with_published(spider, published)
    if len(spider.tasks) < FEWEST_TASKS:
        raise ValueError(
            f"a spider plot needs at least {FEWEST_TASKS} tasks, and the models to draw share "
            f"{len(spider.tasks)} ({', '.join(spider.tasks) or 'none'}); `prunesweep frontier "
            "SWEEP --tasks` shows scores as a table"
        )
    return spider


def _spider(
    chosen: Sequence[Trial], trials: Sequence[Trial], split: Split, omitted: tuple[str, ...]
) -> Spider:
    evaluations = [e for t in chosen if (e := t.evaluation(split)) is not None]
    tasks = [n for n in evaluations[0].tasks if all(n in e.tasks for e in evaluations)]
    dense = next((e for t in trials if t.is_dense and (e := t.evaluation(split))), None)
    bases = {name: task.score for name, task in dense.tasks.items()} if dense else {}
    lines = tuple(
        SpiderLine(
            label=f"{trial.label}, {number(trial.axes['weights_mib'])} MiB",
            trial_id=trial.trial_id,
            spokes=tuple(_spoke(evaluation.tasks[name], bases.get(name)) for name in tasks),
        )
        for trial, evaluation in zip(chosen, evaluations, strict=True)
    )
    sweep = chosen[0].record.sweep
    return Spider(sweep=sweep, split=split, tasks=tuple(tasks), lines=lines, omitted=omitted)


def _spoke(task: TaskScore, base: float | None) -> Spoke:
    """`base` is the dense base's score, for a task that was not compared with it in pairs."""
    paired = task.paired
    base = paired.dense if paired else base
    if not base:
        return Spoke(retention=None)
    if paired is None:
        return Spoke(retention=task.score / base)
    low, high = 1 + paired.low / base, 1 + paired.high / base
    return Spoke(retention=task.score / base, low=low, high=high)


def _with_published(spider: Spider, model: str) -> Spider:
    """The spider over the tasks that the study has too, with the study's rows with recovery."""
    rows = [row for row in published_rows(model, "scores") if row.table == 8]
    dense = next(row for row in rows if row.method == "dense")
    at = [place for place, name in enumerate(spider.tasks) if name in dense.scores]
    tasks = tuple(spider.tasks[place] for place in at)
    published = [
        SpiderLine(
            label=f"{model} {row.method} {row.nominal_ratio:.2f}",
            trial_id=None,
            spokes=tuple(Spoke(retention=row.scores[n] / dense.scores[n]) for n in tasks),
        )
        for row in rows
        if row.method != "dense"
    ]
    lines = tuple(
        line.model_copy(update={"spokes": tuple(line.spokes[place] for place in at)})
        for line in spider.lines
    )
    update = {"tasks": tasks, "lines": lines, "published": tuple(published)}
    return spider.model_copy(update=update)
