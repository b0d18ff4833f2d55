"""What a sweep would cache of its teachers' answers.

Trials share a cache when they ask the same of the same teacher, so the choice is made per such
group; trials that Optuna will choose are counted as more of those that are known.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from sweeps.engine.plan.estimates import (
    is_taught,
    taught_samples,
    tflops_per_second,
    token_counts,
    trained_samples,
)
from sweeps.engine.spec.loading import BadInputError
from trainables.common.names import lasting
from trainables.models.families.registry import language_shape
from trainables.models.families.shape import LanguageShape
from trainables.recovery.teacher.cache_contents import CacheContents, contents_of_loss
from trainables.recovery.teacher.choice import (
    TeacherChoice,
    choose_teacher,
    sized,
    teacher_bytes,
    teacher_pass_seconds,
)
from trainables.specs import Frozen, TrialSpec
from trainables.trial.jobs import Caches


class TeacherRow(Frozen):
    """One group of trials that ask the same of the teacher.

    Attributes:
        keeps: what a cache holds, in words.
        trials: how many, sampled ones included (an estimate).
        choice: how the teacher answers.
    """

    keeps: str
    trials: float
    choice: TeacherChoice


class CachePlan(Frozen):
    """The choices of a sweep, one row per group of trials."""

    teachers: tuple[TeacherRow, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all caches."""
        return sum(row.choice.size_bytes for row in self.teachers)


def plan_caches(
    specs: Sequence[TrialSpec],
    shape: LanguageShape,
    conversations: int,
    storage: Path,
    more: float = 1.0,
    seeds: int = 1,
) -> CachePlan:
    """The choices for these trials.

    Args:
        specs: the trials that are known.
        shape: of the sweep's dense model.
        conversations: in the data.
        storage: the folder that the store lies in; need not exist.
        more: trials in all over trials that are known.
        seeds: sets of seeds, as repeats with other seeds train on other samples.

    Raises:
        BadInputError: a cache that a trial asks for has no room, or cannot be.
    """
    # What the store holds already is counted as free: it is not written again.
    held = (storage / "store" / "teacher").glob("*/*.safetensors")
    free = free_bytes(storage) + sum(path.stat().st_size for path in held)
    groups: dict[str, list[TrialSpec]] = {}
    for spec in specs:
        if is_taught(spec):
            asked = f"{_contents(spec, shape)[0]} {spec.recovery.teacher}"
            groups.setdefault(asked, []).append(spec)
    rows: list[TeacherRow] = []
    try:
        for group in groups.values():
            spec, (contents, size) = group[0], _contents(group[0], shape)
            samples = taught_samples(group, seeds, conversations)
            tokens = token_counts(spec, samples)
            rate, _ = tflops_per_second((spec.recovery.teacher.model or spec.model).dtype)
            trained = sum(trained_samples(spec, shape, conversations) for spec in group)
            choice = choose_teacher(
                spec.recovery.teacher,
                teacher_bytes(contents, tokens, size.hidden_size),
                uses=more * trained / samples,
                pass_seconds=teacher_pass_seconds(size, tokens, 1e12 * rate),
                free_bytes=free,
            )
            free -= choice.size_bytes
            rows.append(TeacherRow(keeps=contents.about, trials=len(group) * more, choice=choice))
    except ValueError as error:
        raise BadInputError(str(error)) from None
    return CachePlan(teachers=tuple(rows))


def decide(
    spec: TrialSpec,
    shape: LanguageShape,
    conversations: int,
    storage: Path,
    trials: int,
    seeds: int = 1,
) -> Caches:
    """What a trial's `auto` settings stand for; what it asks for explicitly is not looked at.

    Args:
        spec: the trial.
        shape: of the sweep's dense model.
        conversations: in the data.
        storage: the folder that the store lies in.
        trials: of the sweep, which are taken to share the caches.
        seeds: sets of seeds among them.
    """
    recovery = spec.recovery
    if recovery.scope == "none":
        return Caches()
    teacher = recovery.teacher.model_copy(update={"mode": "auto"})
    asked = spec.model_copy(update={"recovery": recovery.model_copy(update={"teacher": teacher})})
    try:
        plan = plan_caches([asked], shape, conversations, storage, float(trials), seeds)
    except BadInputError:  # the top-k form, which exists in a cache alone, has no room
        return Caches()
    return Caches(teacher=bool(plan.teachers) and plan.teachers[0].choice.mode == "cached")


def cache_lines(plan: CachePlan) -> list[str]:
    """The choices in words, one line each."""
    lines = []
    for row in plan.teachers:
        choice, who = row.choice, f"{row.keeps}; about {row.trials:.0f} trials"
        if choice.mode == "cached":
            size = f"{sized(choice.size_bytes)}, about {lasting(choice.seconds)} once"
            lines.append(f"teacher: cached, {size} ({who}; {choice.reason})")
        else:
            lines.append(f"teacher: online, because {choice.reason} ({who})")
    return lines


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that a folder lies on, or will."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _contents(spec: TrialSpec, shape: LanguageShape) -> tuple[CacheContents, LanguageShape]:
    """What a cache holds for a trial, and the sizes of its teacher."""
    teacher = spec.recovery.teacher
    size = shape if teacher.model is None else language_shape(teacher.model)
    dtype = (teacher.model or spec.model).dtype
    return contents_of_loss(spec.recovery.loss, teacher, size.num_hidden_layers, dtype), size
