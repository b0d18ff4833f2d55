"""The recovery training loop: a DeepSpeed engine around the student and its loss.

Runs inside Ray Train's `TorchTrainer` (see `trainables.trial.launch`) on one worker or several, and
needs no more than a process group; it never imports ray.

Every step seeds its own random numbers (dropout) from (seed, step, worker), so a resumed run needs
no stored random state to equal an uninterrupted one.
"""

import itertools
from collections.abc import Callable
from typing import Any

from torch import nn

from trainables.records import RecoveryReport
from trainables.recovery.encode.encoder import Encoder
from trainables.recovery.encode.loader import Loader
from trainables.recovery.loss.targets import Teacher
from trainables.recovery.train import checkpoint
from trainables.recovery.train.checkpoint import Curves, Progress
from trainables.recovery.train.passes import RecoveryJob
from trainables.recovery.train.schedule import learning_rate_at, total_steps
from trainables.recovery.train.steps import Training

OnRung = Callable[[int, RecoveryReport, nn.Module], None]


def recover(
    student: nn.Module,
    teacher: Teacher | None,
    encoder: Encoder,
    job: RecoveryJob,
    on_rung: OnRung | None = None,
) -> RecoveryReport:
    """Train the student and write `recovered.safetensors`; resumes from the folder's checkpoint.

    The student is trained in place. `on_rung` is called after each rung of `spec.rungs` with its
    index, the report so far and the student; whatever it raises ends the recovery.

    Returns:
        Length, cost and course of the training.

    Raises:
        FloatingPointError: three steps in a row had to be skipped; names the step and the samples.
    """
    with Loader(encoder, job.spec.data.workers) as loader:
        run = Training(student, teacher, encoder, job)
        stored = checkpoint.load_progress(job.folder, job.content)
        progress = stored or Progress(first_grad_norms=run.first_grad_norms())
        with run.engine(stored) as engine:
            return _train(run, engine, progress, stored, loader, on_rung)


def _train(
    run: Training,
    engine: Any,
    progress: Progress,
    stored: Progress | None,
    loader: Loader,
    on_rung: OnRung | None,
) -> RecoveryReport:
    job, spec, recovery, student = run.job, run.job.spec, run.recovery, run.student
    length = run.encoder.length
    steps = total_steps(recovery, len(run.subset), run.batches(), length, run.nominal_flops)
    curves = Curves(job.folder, progress.step, job.attempt) if run.rank == 0 else None
    rungs = {max(1, round(r * steps)): i for i, r in enumerate(spec.rungs)}
    recent = max(1, steps // 10)

    def judge(progress: Progress) -> None:
        if on_rung and progress.step in rungs and progress.step < steps:
            student.eval()
            last = curves.mean(recent) if curves else {}
            on_rung(rungs[progress.step], run.report(progress, steps, last, stored), student)
            run.train_mode()

    if stored:  # the process may have died at this rung, whose checkpoint comes before its score
        judge(progress)
    batches = itertools.islice(run.batches(progress.step), steps - progress.step)
    order, ahead = itertools.tee(batches)
    loaded = loader.iterate(run.passes.plan(indices) for indices in ahead)
    for indices, (_, collated) in zip(order, loaded, strict=True):
        rate = learning_rate_at(progress.step, steps, recovery)
        result = run.step(engine, indices, collated, rate, progress)
        if curves:
            curves.write(progress.step, result, rate)
        progress = run.advance(progress, indices, result)
        run.refuse_many_skips(progress, indices, result)
        every = recovery.checkpoint_every_steps
        due = every and progress.step % every == 0
        if (due or checkpoint.asked(job.folder)) and progress.step < steps:
            checkpoint.save_checkpoint(
                job.folder, engine, run.trained, progress, job.attempt, job.content
            )
        judge(progress)
    run.save(engine)
    return run.report(progress, steps, curves.mean(recent) if curves else {}, stored)
