"""Which configurations of a recipe differ from it in exactly one factor, and in which level.

The recipe itself is the *centre*, which has the most common value of every factor; nothing but the
records is needed to find it.
"""

from collections import Counter
from collections.abc import Sequence

from analysis.effects.configurations import Configuration
from analysis.load import Trial

FACTORS = ("learning rate", "LoRA rank", "loss weights", "budget")


def recipe_of(trial: Trial) -> str:
    """Method, amount, scope and loss terms: what the settings are varied around."""
    recovery = trial.record.spec.recovery
    amount = trial.record.spec.pruning.amount
    return f"{trial.method} {amount}, {recovery.scope} {recovery.loss.terms}"


def _settings(trial: Trial) -> dict[str, tuple[float, ...]]:
    """The trial's value of every factor, as numbers."""
    recovery = trial.record.spec.recovery
    (budget,) = recovery.budget.model_dump(exclude_none=True).values()
    return {
        "learning rate": (recovery.resolved_learning_rate or 0.0,),
        "LoRA rank": (float(recovery.lora_rank),),
        "loss weights": recovery.loss.normalised,
        "budget": (float(budget),),
    }


def one_factor_each(members: Sequence[Configuration]) -> dict[tuple[str, str], Configuration]:
    """Configurations by (factor, level); the centre under ("", "").

    The centre's value of a factor is the most common one: a sweep that varies one factor at a time
    leaves each factor alone in most of its configurations. Ties go to the older configuration.
    """
    values = [_settings(c.first) for c in members]
    centre = {f: Counter(v[f] for v in values).most_common(1)[0][0] for f in FACTORS}
    found: dict[tuple[str, str], Configuration] = {}
    order: dict[tuple[str, str], tuple[int, tuple[float, ...]]] = {}
    for configuration, own in zip(members, values, strict=True):
        changed = [f for f in FACTORS if own[f] != centre[f]]
        if len(changed) > 1:
            continue
        factor = changed[0] if changed else ""
        key = (factor, _level(factor, own, centre, configuration.first)) if factor else ("", "")
        found[key] = configuration
        order[key] = (FACTORS.index(factor) if factor else -1, own[factor] if factor else ())
    return {key: found[key] for key in sorted(found, key=order.__getitem__)}


def _level(
    factor: str,
    own: dict[str, tuple[float, ...]],
    centre: dict[str, tuple[float, ...]],
    trial: Trial,
) -> str:
    """How the level is shown: a multiple of the recipe's value, a rank, or the weights."""
    if factor == "LoRA rank":
        return f"{own[factor][0]:g}"
    if factor == "loss weights":
        loss = trial.record.spec.recovery.loss
        total = sum(loss.weights.values())
        return ", ".join(f"{name} {weight / total:.2f}" for name, weight in loss.weights.items())
    return f"x {own[factor][0] / centre[factor][0]:.3g}"
