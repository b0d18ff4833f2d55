"""Scores of one model, and the questions that all models of a sweep are shown with."""

from pydantic import Field

from trainables.specs import Frozen, Split

# Points of a benchmark's own scale per point of 0..100: MME counts up to 800 and up to 2000.
OWN_SCALE = {"mme_cognition": 8.0, "mme_perception": 20.0}

Z_95 = 1.96  # two-sided 95 % quantile of the normal distribution


class Comparison(Frozen):
    """A model against the dense base on the same samples, in points of 0..100.

    `low` and `high` bound the 95 % interval of the paired bootstrap over images.
    """

    dense: float
    difference: float
    low: float
    high: float


class TaskScore(Frozen):
    """Score of one task (0..100), standard error clustered by image, sample count, chance level.

    `images` counts the clusters. `raw` is the score on the benchmark's own scale where that is
    another one (MME's points). `unfinished` is the share of answers that the length limit cut off.
    `paired` compares with the dense base; None in the dense base's own report.
    """

    score: float
    stderr: float
    samples: int
    chance: float | None = None
    images: int | None = None
    raw: float | None = None
    unfinished: float | None = None
    paired: Comparison | None = None


class EvaluationReport(Frozen):
    """Scores of one model on one split.

    `retention` is average / dense average (1.0 is the dense model), `retention_se` its standard
    error over the paired samples, `retention_low` and `retention_high` the 95 % interval of the
    paired bootstrap, `paired` the difference of the averages; all None in the dense base's report.
    `failed` names the tasks that have no score, and why; the averages are then over the others,
    and the trial counts as failed.
    `image_gain` is how many points the images are worth: the average minus that on the same
    questions with a blank image (`EvaluationSpec.blank_image_limit`); `dense_image_gain` is the
    dense model's. None where it was not asked for.
    """

    split: Split
    tasks: dict[str, TaskScore]
    average: float
    average_se: float
    dense_average: float | None = None
    retention: float | None = None
    retention_se: float | None = None
    retention_low: float | None = None
    retention_high: float | None = None
    paired: Comparison | None = None
    failed: dict[str, str] = Field(default_factory=dict)
    samples_per_second: float | None = None
    image_gain: float | None = None
    dense_image_gain: float | None = None

    @property
    def retention_interval(self) -> tuple[float, float]:
        """The 95 % interval of this retention by itself; the dense base's is 1 by definition.

        It is the bootstrap's, or 1.96 standard errors where an older record has none.
        """
        if self.retention_low is not None and self.retention_high is not None:
            return self.retention_low, self.retention_high
        middle = 1.0 if self.retention is None else self.retention
        half = Z_95 * (self.retention_se or 0.0)
        return middle - half, middle + half


class GallerySample(Frozen):
    """One question of the report split, with what its task knows about it.

    `task`, `doc_id` and `image_id` name it as `REPORT_SAMPLES` does. `question` is the text that
    the models are asked, `truth` what counts as right (several where any of them does). `picture`
    is a file beside `GALLERY`, `width` x `height` pixels; several images of one question are one
    picture.
    """

    task: str
    doc_id: int
    image_id: str
    question: str
    truth: tuple[str, ...]
    picture: str
    width: int
    height: int

    @property
    def key(self) -> tuple[str, int, str]:
        """What names it in every model's samples."""
        return self.task, self.doc_id, self.image_id


class Gallery(Frozen):
    """A fixed handful of samples; `key` is the digest of what the choice was made for."""

    key: str
    samples: tuple[GallerySample, ...]
