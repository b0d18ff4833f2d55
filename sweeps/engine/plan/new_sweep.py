"""A sweep file to begin with, for a model, data, tasks and a budget of the user's."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from search_spaces.factors import DATA_FRACTIONS, METHODS, RATIOS, SIZES
from sweeps.engine.plan.preflight import check_data, check_sweep
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.loading import load_sweep
from sweeps.engine.spec.unpruned_parts import target_of, unpruned_of
from sweeps.engine.spec.yaml_sweeps import ENDINGS
from trainables.common.files import writing
from trainables.models.families.registry import check_model, language_shape, model_config
from trainables.pruning.planning.sizes import model_size
from trainables.specs import (
    DataSpec,
    Dtype,
    ModelSpec,
    PruningSpec,
    SizeTarget,
    TrialSpec,
)

LEAST, MOST = 100, 20_000  # conversations that a data fraction should come to
SMALL, MEDIUM = 100e6, 1e9  # parameters: how many samples fit into a device at once
QUESTIONS = 500  # of a task, where it has more: an interval of about four points

TEXT = '''"""{question}

Command: `prunesweep plan {file}` says what it will take, `prunesweep run {file}` runs it; the same
command resumes it, or extends it once something below has changed.
Then: `prunesweep frontier {name}`, `prunesweep recommend {name}{limits}`, and
`prunesweep export {name}/TRIAL --to DIR`.

Every field is explained in docs/reference.md; `--set key.sub=value` changes one for a run.
"""

from sweeps.engine.spec import SweepSpec
from trainables.specs import Budget, DataSpec, EvaluationSpec, ModelSpec, RecoverySpec, TrialSpec

sweep = SweepSpec(
    name={said_name},
    question={said_question},
    # What every trial starts from.
    trial=TrialSpec(
        model=ModelSpec(path={model}, dtype={dtype}),
        data={data},
        recovery=RecoverySpec(
            budget=Budget(epochs=1),  # or steps, tokens, tflops
            batch_size={batch},
            micro_batch_size={micro},  # samples in a device at once; lower it if memory runs out
        ),
        evaluation=EvaluationSpec(
            tasks={tasks},{nothing}{task_folders}{image_folder}{data_folder}
            search_limit={questions},  # questions of a task that the search sees
            report_limit={questions},  # other ones, which the frontier quotes
        ),
    ),
    # How much stays: every combination of these gets its equal share of the samples.
    strata={{
        "method": {methods},
        {amount},
    }},
    # What is searched besides: the loss mixture and rates of the space, and these.
    space="frontier",
    choices={{"data_fraction": {fractions}, "lora_rank": (16, 64, 4)}},
    # Pairs that always run, first, so that methods can be compared: no recovery, the projector
    # alone, projector and LoRA.
    designed=tuple(
        {{"method": method, {key}: amount, "scope": scope}}
        for amount in {levels}
        for method in {methods}
        for scope in ("none", "projector", "joint")
    ),
    samples={samples},  # trials that the sampler chooses; 0 runs the pairs alone
    # rungs=RungSpec(),  # stops trials early that fall behind (of sweeps.engine.spec)
    # budget=BudgetSpec(device_hours=24),  # what it may take (of sweeps.engine.spec)
)
'''


def write_sweep(
    to: Path,
    *,
    model: str,
    conversations: Path | None,
    image_root: Path | None,
    tasks: Sequence[str],
    benchmarks: Path | None,
    limits: Mapping[str, float],
) -> SweepSpec:
    """Write a sweep file that runs as it is, and return its sweep.

    Args:
        to: a Python file that does not exist.
        model: a known name or a folder.
        conversations: its training data; None for the embedded model, which brings its own.
        image_root: what image paths start from.
        tasks: what `EvaluationSpec.tasks` takes (names, files of questions), or folders of tasks.
        benchmarks: folder with copies of public benchmarks.
        limits: at most one size of the whole model (`SIZES`), at most.

    Raises:
        ValueError: the sweep could not run; nothing is left at `to`.
    """
    if to.suffix != ".py":
        raise ValueError(f"{to} must end in .py: a sweep file to go on from is Python")
    if to.exists():
        raise ValueError(f"{to} exists already; give another name, or delete it first")
    check_model(spec := ModelSpec(path=_whole(model)))
    spec = spec.model_copy(update={"dtype": _dtype(model_config(spec))})
    data = DataSpec(
        conversations=None if conversations is None else str(conversations.absolute()),
        image_folder=None if image_root is None else str(image_root.absolute()),
    )
    trial = TrialSpec(model=spec, data=data)
    checked = SweepSpec(name="new", question="?", trial=trial)
    found = check_data(checked)
    key, levels, methods, size = _amounts(trial, limits)
    name = "".join(c if c.isalnum() or c in "_.-" else "_" for c in to.stem)
    question = f"Which pruned {Path(model).name} should be shipped"
    question += f" for {key}={levels[0]:g}?" if limits else "?"
    micro = 32 if size < SMALL else 8 if size < MEDIUM else 4
    count = None if found is None else len(found.conversations)
    folders = tuple(t for t in tasks if Path(t).is_dir() or Path(t).suffix in ENDINGS)
    own = tuple(_whole(task) for task in tasks if task not in folders)
    files = [task for task in own if Path(task.partition(":")[0]).is_file()]
    text = TEXT.format(
        question=question,
        said_question=_said(question),
        file=to,
        name=name,
        said_name=_said(name),
        limits="".join(f" --max {axis}={value:g}" for axis, value in limits.items()),
        model=_said(spec.path),
        dtype=_said(spec.dtype),
        data=_call("DataSpec", conversations=data.conversations, image_folder=data.image_folder),
        batch=32,
        micro=micro,
        tasks=_said(own),
        nothing="" if tasks else "  # all of the embedded model's",
        task_folders=_line("task_folders", tuple(os.path.abspath(f) for f in folders) or None),
        image_folder=_line("image_folder", data.image_folder if files else None),
        data_folder=_line("data_folder", _whole(str(benchmarks)) if benchmarks else None),
        questions=QUESTIONS,
        methods=_said(methods),
        amount=f"{_said(key)}: {levels}",
        key=_said(key),
        levels=levels,
        fractions=_fractions(count),
        samples=4 * len(methods) * len(levels),
    )
    with writing("the sweep file", to.parent):
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(text, encoding="utf-8")
    try:
        sweep = load_sweep(str(to))
        check_sweep(sweep)
    except BaseException:
        to.unlink()
        raise
    return sweep


def _amounts(
    trial: TrialSpec, limits: Mapping[str, float]
) -> tuple[str, tuple[float, ...], tuple[str, ...], int]:
    """(the factor that says how much stays, its levels, methods that reach them, parameters)."""
    shape, unpruned = language_shape(trial.model), unpruned_of(trial)
    dense = model_size(shape, tuple(shape.widths()), unpruned)
    if not limits:
        return "ratio", RATIOS, METHODS, dense.params
    (axis, most), *more = limits.items()
    if more or axis not in SIZES:
        raise ValueError(
            f"--max {' '.join(limits)}: a sweep aims at one size of the whole model, which is one "
            f"of {', '.join(SIZES)}; what else must be kept is asked of `prunesweep recommend`"
        )
    now = getattr(dense, axis)
    if now is not None and now <= most:
        raise ValueError(
            f"the dense model has {axis}={now:.6g} and so keeps --max {axis}={most:g} as it is; "
            "give less, or leave --max out for a sweep over ratios"
        )
    if most <= 0:
        raise ValueError(f"--max {axis}={most:g} leaves nothing of the model; give more")
    target, methods, why = SizeTarget.model_validate({axis: most}), list[str](), ""
    for method in METHODS:
        pruning = PruningSpec(method=method, size=target)
        try:
            target_of(trial.model_copy(update={"pruning": pruning}), shape)
            methods.append(method)
        except ValueError as error:
            why = str(error)
    if not methods:
        raise ValueError(why)
    return axis, (most,), tuple(methods), dense.params


def _fractions(conversations: int | None) -> tuple[float, ...]:
    """Shares of the data that are neither too little to learn from nor days of work."""
    if conversations is None:
        return (0.05, 0.1, 0.2)
    return tuple(f for f in DATA_FRACTIONS if LEAST <= f * conversations <= MOST) or (
        min(1.0, MOST / conversations),
    )


def _dtype(config: Mapping[str, Any]) -> Dtype:
    """What the checkpoint says that its weights are; float32 where it does not."""
    text = config.get("text_config") or {}
    said = config.get("dtype") or config.get("torch_dtype") or text.get("dtype")
    known: dict[Any, Dtype] = {dtype: dtype for dtype in get_args(Dtype)}
    return known.get(said, "float32")


def _whole(name: str) -> str:
    """The whole path of what lies here, with what follows a colon; other names as they are."""
    path, colon, more = name.partition(":")
    return os.path.abspath(path) + colon + more if path and Path(path).exists() else name


def _said(value: Any) -> str:
    """As Python, in double quotes where that is simple."""
    text = repr(value)
    return text if '"' in text or "\\" in text else text.replace("'", '"')


def _line(name: str, value: Any) -> str:
    return "" if value is None else f"\n            {name}={_said(value)},"


def _call(name: str, **given: Any) -> str:
    said = ", ".join(f"{key}={_said(value)}" for key, value in given.items() if value is not None)
    return f"{name}({said})"
