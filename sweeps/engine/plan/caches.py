"""What a sweep would keep on disk of its frozen models: the teacher's answers, vision features.

Trials share a cache when they ask the same of the same teacher, so the choice is made per such
group; trials that Optuna will choose are counted as more of those that are known.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from sweeps.engine.plan.estimates import tflops_per_second, token_counts, trained_samples
from sweeps.engine.spec.loading import BadInputError
from trainables.models.families.registry import adapter_for, language_shape, model_config
from trainables.models.families.shape import LanguageShape
from trainables.recovery.teacher.cache_contents import kept_by
from trainables.recovery.teacher.cache_progress import sized
from trainables.recovery.teacher.choice import (
    TeacherChoice,
    VisionChoice,
    choose_teacher,
    choose_vision,
    lasting,
    teacher_bytes,
    teacher_pass_seconds,
    vision_bytes,
)
from trainables.specs import Frozen, TrialSpec
from trainables.trial.jobs import Caches

# Reading a photograph of 640 x 480 pixels and preparing it takes 4 ms of a CPU core (measured), a
# CLIP-L tower at 336 pixels about 1 ms of a GPU (0.4 TFLOPs).
IMAGE_SECONDS = 0.005


class TeacherRow(Frozen):
    """One group of trials that ask the same of the teacher.

    Attributes:
        keeps: what a cache keeps, in words.
        trials: how many, sampled ones included (an estimate).
        choice: how the teacher answers.
    """

    keeps: str
    trials: float
    choice: TeacherChoice


class CachePlan(Frozen):
    """The choices of a sweep; `vision` is None where no trial is trained."""

    teachers: tuple[TeacherRow, ...]
    vision: VisionChoice | None

    @property
    def size_bytes(self) -> int:
        """Bytes of all caches."""
        vision = self.vision.size_bytes if self.vision else 0
        return vision + sum(row.choice.size_bytes for row in self.teachers)


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
    free = free_bytes(storage) + held_bytes(storage)
    trained = [spec for spec in specs if spec.recovery.scope != "none"]
    groups: dict[str, list[TrialSpec]] = {}
    for spec in trained:
        if spec.recovery.loss.needs_teacher:
            groups.setdefault(_group(spec, shape), []).append(spec)
    rows: list[TeacherRow] = []
    vision = None
    try:
        for group in groups.values():
            rows.append(_teacher(group, shape, conversations, free, more, seeds))
            free -= rows[-1].choice.size_bytes
        if trained:
            vision = _vision(trained, shape, conversations, free, more, seeds)
    except ValueError as error:
        raise BadInputError(str(error)) from None
    return CachePlan(teachers=tuple(rows), vision=vision)


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
    update = {"teacher": teacher, "vision_cache": "auto"}
    asked = spec.model_copy(update={"recovery": recovery.model_copy(update=update)})
    try:
        plan = plan_caches([asked], shape, conversations, storage, float(trials), seeds)
    except BadInputError:  # the top-k form, which exists in a cache alone, has no room
        return Caches()
    return Caches(
        teacher=bool(plan.teachers) and plan.teachers[0].choice.mode == "cached",
        vision=plan.vision is not None and plan.vision.kept,
    )


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
    if plan.vision and plan.vision.kept:
        size = f"{sized(plan.vision.size_bytes)}, about {lasting(plan.vision.seconds)} once"
        lines.append(f"vision features: cached, {size} ({plan.vision.reason})")
    elif plan.vision:
        lines.append(f"vision features: computed in every step, because {plan.vision.reason}")
    return lines


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that a folder lies on, or will."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def held_bytes(storage: Path) -> int:
    """Bytes that the store keeps of frozen models."""
    kinds = ("teacher", "vision")
    shards = (path for kind in kinds for path in (storage / "store" / kind).glob("*/*.safetensors"))
    return sum(path.stat().st_size for path in shards)


def _group(spec: TrialSpec, shape: LanguageShape) -> str:
    teacher = spec.recovery.teacher
    kept = kept_by(
        spec.recovery.loss, teacher, _teacher_shape(spec, shape).num_hidden_layers, spec.model.dtype
    )
    return f"{kept.model_dump_json()} {teacher.model_dump_json()}"


def _teacher_shape(spec: TrialSpec, shape: LanguageShape) -> LanguageShape:
    model = spec.recovery.teacher.model
    return shape if model is None else language_shape(model)


def _teacher(
    group: Sequence[TrialSpec],
    shape: LanguageShape,
    conversations: int,
    free: int,
    more: float,
    seeds: int,
) -> TeacherRow:
    spec, teacher = group[0], group[0].recovery.teacher
    size = _teacher_shape(spec, shape)
    dtype = teacher.model.dtype if teacher.model else spec.model.dtype
    kept = kept_by(spec.recovery.loss, teacher, size.num_hidden_layers, dtype)
    samples = _distinct(group, conversations, seeds)
    tokens = token_counts(spec, samples)
    choice = choose_teacher(
        teacher,
        teacher_bytes(kept, tokens, size.hidden_size),
        uses=_uses(group, shape, conversations, samples, more),
        pass_seconds=teacher_pass_seconds(size, tokens, 1e12 * tflops_per_second(dtype)[0]),
        free_bytes=free,
    )
    return TeacherRow(keeps=kept.about, trials=len(group) * more, choice=choice)


def _vision(
    specs: Sequence[TrialSpec],
    shape: LanguageShape,
    conversations: int,
    free: int,
    more: float,
    seeds: int,
) -> VisionChoice:
    asking = [spec for spec in specs if spec.recovery.vision_cache == "on"]
    spec = (asking or specs)[0]  # one that insists is refused where it cannot be had
    config = model_config(spec.model)
    adapter = adapter_for(config)
    samples = _distinct(specs, conversations, seeds)  # an image each, at most
    features = adapter.natural_image(config).features if adapter.replays_vision else None
    return choose_vision(
        spec.recovery,
        vision_bytes(features, samples, spec.model.dtype) if features else None,
        uses=_uses(specs, shape, conversations, samples, more),
        pass_seconds=IMAGE_SECONDS * samples,
        free_bytes=free,
    )


def _distinct(specs: Sequence[TrialSpec], conversations: int, seeds: int) -> int:
    """Distinct samples of the trials: fractions of one seed are nested, those of others are not."""
    largest: dict[int, float] = {}
    for spec in specs:
        seed, fraction = spec.seeds.data, spec.recovery.data_fraction
        largest[seed] = max(largest.get(seed, 0.0), fraction)
    return max(1, round(min(1.0, sum(largest.values()) * seeds) * conversations))


def _uses(
    specs: Sequence[TrialSpec],
    shape: LanguageShape,
    conversations: int,
    samples: int,
    more: float,
) -> float:
    """How often each distinct sample is trained on, in the mean."""
    return more * sum(trained_samples(spec, shape, conversations) for spec in specs) / samples
