"""A few short trials in one process, so that a sweep's time can be foreseen from what they took.

`python -m trainables.trial.probe` reads a `ProbeJob` on stdin. The first trial is short and pays
for all that happens once in a process; it says how many steps and questions fit into the time.
"""

import time
from pathlib import Path

from trainables.common.attempts import claim, new_attempt
from trainables.common.process_group import fresh_single_process_group
from trainables.common.replying import reply
from trainables.common.store import Store
from trainables.efficiency.latency import measure_latency
from trainables.records import RECORD, TrialRecord
from trainables.specs import Budget, Frozen, TrialSpec
from trainables.trial.compress import compress
from trainables.trial.inputs import load_inputs
from trainables.trial.jobs import Caches, TrialJob
from trainables.trial.launch import publish
from trainables.trial.plan import load_plan
from trainables.trial.student import finished_student, trained_file

FIRST_STEPS, FIRST_QUESTIONS = 8, 16  # of the trial that pays for what happens once
MOST_STEPS, MOST_QUESTIONS = 300, 500


class ProbeJob(Frozen):
    """What to measure.

    Attributes:
        specs: trials, of which the first one is run twice: cold, then for as long as the others.
        folder: an empty one, which holds them and a store of their own.
        seconds: that all of them may take together, about.
        conversations: in the data.
    """

    specs: tuple[TrialSpec, ...]
    folder: Path
    seconds: float
    conversations: int


class ProbeFound(Frozen):
    """The records of the trials, the cold one first, and what closing one of them took."""

    records: tuple[TrialRecord, ...]
    latency_seconds: float


def probe(job: ProbeJob) -> ProbeFound:
    """Run the trials, one after another, and measure the latency of the last one."""
    begun = time.monotonic()
    cold = run(job, job.specs[0], 0, FIRST_STEPS, FIRST_QUESTIONS)
    # A quarter of each trial's share for its steps, one for its answers, one for those of the same
    # student untrained, the rest for the rest.
    left = max(0.3 * job.seconds, job.seconds - (time.monotonic() - begun))
    share = left / len(job.specs) / 4
    assert cold.recovery
    assert cold.recovery.speed
    assert cold.evaluation
    step = cold.recovery.speed.seconds / FIRST_STEPS
    answer = 1 / (cold.evaluation.samples_per_second or 1.0)
    steps = min(MOST_STEPS, max(FIRST_STEPS, round(share / step)))
    asked = share / answer / len(cold.evaluation.tasks)
    questions = min(MOST_QUESTIONS, max(FIRST_QUESTIONS, round(asked)))
    warm = [run(job, spec, i, steps, questions) for i, spec in enumerate(job.specs, start=1)]
    return ProbeFound(records=(cold, *warm), latency_seconds=close(job, warm[-1]))


def run(job: ProbeJob, spec: TrialSpec, number: int, steps: int, questions: int) -> TrialRecord:
    """One trial of so many steps and questions per task."""
    share = min(1.0, steps * spec.recovery.batch_size / job.conversations)
    recovery = {"budget": Budget(steps=steps), "data_fraction": share}
    limits = {"search_limit": questions, "rung_limit": None, "blank_image_limit": None}
    short = spec.model_copy(
        update={
            "recovery": spec.recovery.model_copy(update=recovery),
            "evaluation": spec.evaluation.model_copy(update=limits),
            "rungs": (),
            "workers": 1,
        }
    )
    folder = job.folder / f"probe-{number}"
    folder.mkdir(parents=True)
    trial = TrialJob(
        trial_id=folder.name,
        sweep="probe",
        origin="designed",
        spec=short,
        folder=folder,
        store=job.folder / "store",
        attempt=new_attempt(),
        caches=Caches(teacher=True),
    )
    claim(folder, trial.attempt)
    fresh_single_process_group()
    record = compress(trial)
    assert record is not None
    publish(trial, record)
    return record


def close(job: ProbeJob, record: TrialRecord) -> float:
    """Seconds of the latency measurement of the closing pass."""
    folder, begun = job.folder / record.trial_id, time.monotonic()
    assert (folder / RECORD).exists()
    inputs = load_inputs(record.spec, Store(job.folder / "store"))
    student = finished_student(inputs, load_plan(folder), trained_file(folder, record))
    measure_latency(student, inputs.dense.model, inputs.dense.adapter, record.spec.efficiency)
    return time.monotonic() - begun


if __name__ == "__main__":
    reply(lambda asked: probe(ProbeJob.model_validate_json(asked)).model_dump_json())
