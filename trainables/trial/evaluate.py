"""The scores of one trial: the dense model's from the store, the student's paired with them."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedModel

from trainables.common.attempts import owned
from trainables.common.provenance import versions
from trainables.common.store import Store
from trainables.evaluation.catalog import asked_tasks
from trainables.evaluation.harness import judge, score_tasks
from trainables.evaluation.saved_tables import Keep, keep_in, remove_saved_tables, score_anew
from trainables.evaluation.scoring import refuse_zero
from trainables.evaluation.sharding import Crew, Exchange
from trainables.pruning.planning.planner import PrunePlan
from trainables.records import LOG, SEARCH_SAMPLES, EvaluationReport
from trainables.records.score_table import ScoreTable
from trainables.specs import EvaluationSpec, ModelSpec, Origin, Split, TrialSpec
from trainables.trial.asked import answered
from trainables.trial.inputs import Inputs, load_inputs
from trainables.trial.jobs import TrialJob
from trainables.trial.keys import answers
from trainables.trial.student import trained_digest

Student = Callable[[], PreTrainedModel]  # cut when it is asked for
SOME = 3  # answers of a model that scores nothing


class Scored(NamedTuple):
    """A student's scores on the search split.

    Attributes:
        report: the scores.
        table: the answers behind them.
        dense: the dense model's that they are compared with: None for a reference, and where a task
            failed, since the others alone are not comparable.
    """

    report: EvaluationReport
    table: ScoreTable
    dense: ScoreTable | None


def evaluate_student(
    job: TrialJob,
    inputs: Inputs,
    plan: PrunePlan,
    student: PreTrainedModel,
    exchange: Exchange | None = None,
) -> Scored:
    """Search-split scores of the finished student, with what the image is worth to it.

    What is answered is kept until all is, so that a trial that is killed goes on from there.

    `student` is recovered and quantized; other workers wait at `exchange` for their shares.
    """
    log, as_pruned = job.folder / LOG, inputs.spec.recovery.scope == "none"
    keep = keep_scores(inputs, plan, job.folder, "search", as_pruned)

    def asked() -> PreTrainedModel:
        return student

    report, table = score(inputs, asked, "search", log, job.origin, keep=keep, exchange=exchange)
    with owned(job.folder, job.attempt):
        table.save(job.folder / SEARCH_SAMPLES)
    scored = Scored(report, table, None)
    if job.origin != "reference" and not report.failed:
        scored = scored._replace(dense=dense_scores(inputs, "search", log))
        keep = keep_blank(inputs, plan) if as_pruned else score_anew
        scored = with_image_gains(inputs, asked, scored, log, keep, Crew.of(exchange, "student"))
    with owned(job.folder, job.attempt):
        remove_saved_tables(job.folder)
    return scored


def score(
    inputs: Inputs,
    model: Student,
    split: Split,
    log: Path,
    origin: Origin,
    *,
    rung: bool = False,
    keep: Keep = score_anew,
    exchange: Exchange | None = None,
) -> tuple[EvaluationReport, ScoreTable]:
    """Scores on `split` and the samples behind them.

    They are paired with the baseline's, unless this is the baseline itself.

    Args:
        inputs: the trial's inputs.
        model: hands out the student.
        split: which samples.
        log: file that lmms-eval's output is appended to.
        origin: of the trial; the model of a reference is its dense model.
        rung: the recovery goes on, and fewer samples may do.
        keep: where the tables of finished tasks are kept.
        exchange: where the trial's other workers wait for their shares.
    """
    settings, baseline = inputs.spec.evaluation, inputs.spec.baseline
    limit = settings.limit_at_rungs if rung else settings.limit(split)
    captions_limit = limit if rung else None
    crew = Crew.of(exchange, "dense")
    dense = dense_scores(inputs, split, log, captions_limit=captions_limit, crew=crew)
    if origin == "reference":
        if baseline is None or baseline == inputs.spec.model:
            # Before the other trials have trained for nothing.
            refuse_zero(dense.average, lambda: _some_answers(inputs, split, dense, log))
            return judge(split, dense, None)
        return judge(split, dense, model_scores(baseline, settings, split, inputs.store, log=log))
    request, crew = inputs.request(split, limit), Crew.of(exchange, "student")
    table = score_tasks(model, inputs.dense.processor, request, log=log, keep=keep, crew=crew)
    return judge(split, table, dense)


def _some_answers(inputs: Inputs, split: Split, table: ScoreTable, log: Path | None) -> str:
    """Three of a model's answers in words, of as many tasks as there are."""
    request = inputs.request(split, inputs.spec.evaluation.limit(split))
    found = answered(table, request.task_folder, SOME, log)
    some = sorted(found, key=lambda one: found.index(one) % SOME)[:SOME]
    model = inputs.spec.model.path
    return (
        f"{'; '.join(one.sentence for one in some)}. `prunesweep doctor --model {model}` looks at "
        "the model and shows more"
    )


def model_scores(
    model: ModelSpec,
    settings: EvaluationSpec,
    split: Split,
    store: Store,
    *,
    spread: bool = False,
    log: Path | None = None,
) -> ScoreTable:
    """Per-sample scores of an unpruned model, from the store or scored now.

    With `spread` it is laid over all GPUs of this machine; lmms-eval's output is appended to `log`.
    """
    spec = TrialSpec(model=model, evaluation=settings)
    return dense_scores(load_inputs(spec, store, data=False, spread=spread), split, log)


_load_table = functools.lru_cache(maxsize=64)(ScoreTable.load)  # a task each


def dense_scores(
    inputs: Inputs,
    split: Split,
    log: Path | None = None,
    *,
    blank_images: bool = False,
    captions_limit: int | None = None,
    crew: Crew | None = None,
) -> ScoreTable:
    """The dense model's per-sample scores, each task's from the store or scored now.

    A task that crashes is kept by nobody and stands in the table's `failed`: the next trial
    tries it again. With `blank_images` they are those of `EvaluationSpec.blank_image_limit`.

    `captions_limit` is for comparisons with a student that was asked fewer questions: the score
    of a caption depends on the images that are scored with it, so that the dense model's have
    to be scored on the same ones. Of all other tasks the first scores are compared.
    """
    settings, dense = inputs.spec.evaluation, inputs.dense
    limit = settings.blank_image_limit if blank_images else settings.limit(split)
    key = _asked(inputs, split, blank_images)
    request = inputs.request(split, limit, captions_limit, blank_images)

    def of_task(task: str) -> dict[str, object]:
        return {**key, "limit": limit if request.info(task).alone else captions_limit or limit}

    keep = _keep_in_store(inputs, "dense-scores", split, of_task)
    return score_tasks(lambda: dense.model, dense.processor, request, log=log, keep=keep, crew=crew)


def keep_scores(
    inputs: Inputs, plan: PrunePlan, folder: Path, split: Split, as_pruned: bool
) -> Keep:
    """Keeps the tables of this student's finished tasks in the trial's folder.

    A trial that is killed while it is scored answers only what is missing when it is taken up
    again. The key holds the trained tensors, so that a student that came out differently is asked
    anew. Those of a student that stays as it was pruned are kept in the store.
    """
    if as_pruned:
        return keep_untrained(inputs, plan, split)
    limit = inputs.spec.evaluation.limit(split)
    key = {
        **_asked(inputs, split),
        **_cut(inputs, plan),
        "trained": trained_digest(folder),
        "task_files": inputs.request(split, limit).task_folder.name,
        "limit": limit,
    }
    return keep_in(folder, key)


def keep_untrained(inputs: Inputs, plan: PrunePlan, split: Split) -> Keep:
    """Keeps tables of a student as it was pruned in the store, for all trials with its plan."""
    return _keep_untrained(inputs, plan, split, inputs.spec.evaluation.limit(split))


def keep_blank(inputs: Inputs, plan: PrunePlan) -> Keep:
    """The same for what it answers to blank images."""
    return _keep_untrained(inputs, plan, "search", inputs.spec.evaluation.blank_image_limit, True)


def _keep_untrained(
    inputs: Inputs, plan: PrunePlan, split: Split, limit: int | None, blank_images: bool = False
) -> Keep:
    key = {**_asked(inputs, split, blank_images), **_cut(inputs, plan), "limit": limit}
    return _keep_in_store(inputs, "untrained-scores", split, lambda task: key)


def _keep_in_store(
    inputs: Inputs, kind: str, split: Split, key: Callable[[str], dict[str, object]]
) -> Keep:
    """Keeps a model's tables in the store, a task each; `key` says what a task's depend on."""

    def keep(task: str, score: Callable[[], ScoreTable]) -> ScoreTable:
        entry, _ = inputs.store.get_or_create(
            kind,
            {**key(task), "task": task, "version": inputs.task_version(task, split)},
            lambda target: score().save(target / "scores.parquet"),
        )
        return _load_table(entry / "scores.parquet")

    return keep


def _asked(inputs: Inputs, split: Split, blank_images: bool = False) -> dict[str, object]:
    """What the answers of the dense model, or of a student that is cut from it, depend on."""
    settings = inputs.spec.evaluation
    return {
        **answers(inputs.dense),
        "split": split,
        "batch_size": settings.batch_size,  # padding changes the last bits, which may break ties
        "max_new_tokens": settings.max_new_tokens,
        **({"images": "blank"} if blank_images else {}),
    }


def _cut(inputs: Inputs, plan: PrunePlan) -> dict[str, object]:
    """What those of a student depend on besides, but for its recovery."""
    quantizers = versions("bitsandbytes", "torchao")
    return {"plan": plan.digest, "quantization": [inputs.spec.quantization, quantizers]}


def with_image_gains(
    inputs: Inputs, student: Student, scored: Scored, log: Path, keep: Keep, crew: Crew | None
) -> Scored:
    """The same with what the image is worth to the student and the dense model, if asked for.

    `keep` is for what the student answers to blank images.
    """
    fewer, limit = without_captions(inputs), inputs.spec.evaluation.blank_image_limit
    if fewer is None or limit is None or scored.dense is None:
        return scored
    blank = score_tasks(
        student,
        inputs.dense.processor,
        fewer.request("search", limit, blank_images=True),
        log=log,
        keep=keep,
        crew=crew,
    )
    crew = Crew.of(crew.exchange, "dense") if crew else None
    usual = dense_scores(fewer, "search", log, blank_images=True, crew=crew)
    if blank.failed or usual.failed:
        return scored
    gains = {
        "image_gain": image_gain(scored.table, blank),
        "dense_image_gain": image_gain(scored.dense, usual),
    }
    return scored._replace(report=scored.report.model_copy(update=gains))


def without_captions(inputs: Inputs) -> Inputs | None:
    """The inputs without captioning tasks; None if there is no other one.

    Questions that are asked again without their images are fewer than before, and the score of a
    caption depends on the images that are scored with it.
    """
    settings = inputs.spec.evaluation
    asked = asked_tasks(settings)
    captioning = {name for name, info in asked.items() if not info.alone}
    names = tuple(name for name in settings.tasks or asked if name not in captioning)
    if not names:
        return None
    evaluation = settings.model_copy(update={"tasks": names})
    return replace(inputs, spec=inputs.spec.model_copy(update={"evaluation": evaluation}))


def image_gain(table: ScoreTable, blank: ScoreTable) -> float:
    """Points of the average that the images are worth, on the questions that `blank` holds."""
    return table.matching(blank).average - blank.average
