"""What a slot is asked to do: torch-free values that travel from driver to trial process."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter, field_validator

from trainables.common.attempts import new_attempt
from trainables.common.copies import working_copy
from trainables.records import Provenance, TrialRecord
from trainables.specs import Frozen, Origin, TrialSpec


class Caches(Frozen):
    """What the `auto` settings of a trial stand for.

    Only the driver knows how many trials would share a cache, so it decides and the trial obeys;
    where there turns out to be no room, the trial computes in every step after all.

    Attributes:
        teacher: the teacher's answers are kept.
        recovery: what a recovery leaves is kept, for trials that differ in what comes after it.
    """

    teacher: bool = False
    recovery: bool = False


class TrialJob(Frozen):
    """Run one trial and write its record.

    Attributes:
        trial_id: id in the ledger.
        origin: who asked for the point.
        factors: those that the sweep brings itself, as its record shows them.
        folder: the trial's folder in the ledger.
        store: root of the content-addressed store.
        attempt: token of the process start that does the job, which alone may write (see
            `attempts`); the driver does not know it.
        url: of the storage, where that is an object store: `folder` and `store` are the driver's
            paths then, and those of this machine's copy once the job is parsed here.
    """

    kind: Literal["trial"] = "trial"
    trial_id: str
    sweep: str
    origin: Origin
    spec: TrialSpec
    factors: dict[str, Any] = Field(default_factory=dict)
    folder: Path
    store: Path
    attempt: str = ""
    url: str = ""
    caches: Caches = Caches()

    @field_validator("spec")
    @classmethod
    def _says_its_recovery(cls, spec: TrialSpec) -> TrialSpec:
        if spec.recovery.preset is not None:
            raise ValueError(
                f"recovery.preset={spec.recovery.preset!r} stands for settings that depend on the "
                "model's family, but a job must say them; take `presets.study_recovery`"
            )
        return spec

    def record(self, error: str | None, provenance: Provenance, **found: Any) -> TrialRecord:
        """The record of this trial: failed where there is an error, `found` are its reports."""
        return TrialRecord(
            trial_id=self.trial_id,
            sweep=self.sweep,
            status="completed" if error is None else "failed",
            origin=self.origin,
            spec=self.spec,
            factors=self.factors,
            seeds=self.spec.seeds,
            error=error,
            provenance=provenance,
            **found,
        )


class ReportJob(Frozen):
    """Score a finished trial on the report split; `folder` holds its record.

    `gallery` samples are shown with their pictures, see `trainables.trial.gallery`; 0 shows none.
    `data_folder` is where the benchmarks' copies lie now; None is where the trial found them.
    `url` is as in `TrialJob`.
    """

    kind: Literal["report"] = "report"
    trial_id: str
    folder: Path
    store: Path
    attempt: str = ""
    url: str = ""
    gallery: int = 0
    data_folder: str | None = None


class LatencyJob(Frozen):
    """Measure the latency of finished trials while nothing else runs, and close them.

    `folders` are trial folders with a report-split evaluation and no `report.json` yet. `url` is as
    in `TrialJob`.
    """

    kind: Literal["latency"] = "latency"
    folders: tuple[Path, ...]
    store: Path
    attempt: str = ""
    url: str = ""


Job: TypeAlias = TrialJob | ReportJob | LatencyJob
_ADAPTER: TypeAdapter[Job] = TypeAdapter(Annotated[Job, Field(discriminator="kind")])


def parse_job(plain: dict[str, Any]) -> Job:
    """The job that `model_dump(mode="json")` wrote, in this machine's copy of an object store."""
    job = _ADAPTER.validate_python(plain)
    if not job.url:
        return job
    root, here = job.store.parent, working_copy(job.url)
    folders = tuple(here / folder.relative_to(root) for folder in folders_of(job))
    own = {"folders": folders} if isinstance(job, LatencyJob) else {"folder": folders[0]}
    return job.model_copy(update={"store": here / job.store.relative_to(root), **own})


def folders_of(job: Job) -> tuple[Path, ...]:
    """The folders of the trials that a job is about."""
    return job.folders if isinstance(job, LatencyJob) else (job.folder,)


def begin_job(plain: dict[str, Any]) -> Job:
    """The job, with a token for this start: Tune hands the same plain job to a trial's retry."""
    return parse_job(plain).model_copy(update={"attempt": new_attempt()})
