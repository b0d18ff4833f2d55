"""A trial's place among the others as tags of its run, which change while a sweep goes on."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.frontier import Frontier
from analysis.load import Trial


def places(trials: Sequence[Trial], frontier: Frontier) -> dict[str, dict[str, str]]:
    """The tags `frontier` and `standing` of every trial, by its id.

    `frontier` is true, false or guessing, so that a search for true finds what `frontier.csv`
    lists. `standing` says more: how sure a point's place is, or why a trial has none.
    """
    front = frontier.trial_ids
    ranked = {p.trial_id: p.standing for p in (*frontier.points, *frontier.dominated)}
    guessing = {p.trial_id for p in frontier.guessing}

    def standing(trial: Trial) -> str:
        name, status = trial.trial_id, trial.record.status
        if trial.is_reference:
            return "dense base" if trial.is_dense else "other model"
        if word := ranked.get(name):
            return f"frontier, {word}" if name in front else word
        if name in guessing:
            return "guessing"
        if status != "completed":
            return status.replace("_", " ")
        if trial.is_confirmation:
            return "repeats another"
        return "no report score" if name in frontier.awaiting_report else "not ranked"

    words = {True: "true", False: "false"}
    return {
        t.trial_id: {
            "frontier": "guessing" if t.trial_id in guessing else words[t.trial_id in front],
            "standing": standing(t),
        }
        for t in trials
    }
