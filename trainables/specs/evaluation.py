"""How a model is scored, and what its efficiency figures are for."""

from typing import Self

from pydantic import Field, model_validator

from trainables.specs.base import Frozen, Split

WARM_UP = 3  # runs before latency counts


class EvaluationSpec(Frozen):
    """Which lmms-eval tasks score a model. Embedded models' own are named `<model>_<kind>`.

    Attributes:
        tasks: their names, or files of questions of one's own (`FILE` or `FILE:METRIC`; JSON, JSON
            lines or parquet), or tasks that come with lmms-eval; an empty list means those that an
            embedded model brings along, for other models `tiny`'s.
        task_folders: folders, or YAML files, with lmms-eval tasks of one's own; `tasks` names some
            of them, or is empty for all.
        image_folder: what the image paths of files of questions start from; None is the folder
            that a file lies in.
        data_folder: folder with local copies of the public benchmarks (`prunesweep data fetch`).
        search_share: share of the images of a public benchmark, or of a task of one's own, that
            form its search split.
        subset_seed: order of those images: a limit takes the first of them, so that smaller subsets
            lie within larger ones.
        search_limit: samples per task on the search split.
        rung_limit: samples per task at a rung; None is `search_limit`.
        report_limit: samples per task on the disjoint report split.
        batch_size: questions answered together.
        max_new_tokens: overrides the tasks' own answer lengths.
        sharded: let every worker of the trial answer its share of the questions.
        blank_image_limit: ask so many of the search split's samples per task again with a blank
            image, to see what the image is worth to the model; None does not. Captioning tasks
            are left out.
    """

    tasks: tuple[str, ...] = ()
    task_folders: tuple[str, ...] = ()
    image_folder: str | None = None
    data_folder: str | None = None
    search_share: float = Field(0.5, gt=0, lt=1)
    subset_seed: int = 0
    search_limit: int | None = Field(None, ge=1)
    rung_limit: int | None = Field(None, ge=1)
    report_limit: int | None = Field(None, ge=1)
    batch_size: int = Field(32, ge=1)
    max_new_tokens: int | None = Field(None, ge=1)
    sharded: bool = False
    blank_image_limit: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _blank_within_search(self) -> Self:
        blank, search = self.blank_image_limit, self.search_limit
        if blank is not None and search is not None and blank > search:
            raise ValueError(
                f"blank_image_limit={blank} exceeds search_limit={search}, but the scores with a "
                "blank image are compared with those of the same samples; lower it"
            )
        return self

    def limit(self, split: Split) -> int | None:
        """Samples per task on `split`; None is all of them."""
        return self.search_limit if split == "search" else self.report_limit

    @property
    def limit_at_rungs(self) -> int | None:
        """Samples per task at a rung: never more than the dense model is scored on; None is all."""
        limits = [n for n in (self.rung_limit, self.search_limit) if n is not None]
        return min(limits, default=None)


class EfficiencySpec(Frozen):
    """What the efficiency figures are for: one image and a prompt.

    Attributes:
        prompt_tokens: text tokens beside the image.
        new_tokens: tokens that are generated where latency is measured.
        latency_repeats: measurements, of which the median counts.
        latency_batch: size of a second, batched measurement besides batch 1; None leaves it out.
    """

    prompt_tokens: int = Field(50, ge=1)
    new_tokens: int = Field(8, ge=1)
    latency_repeats: int = Field(20, ge=3)
    latency_batch: int | None = Field(None, ge=2)

    @property
    def latency_runs(self) -> int:
        """Of each model, those that warm it up included."""
        return WARM_UP + self.latency_repeats
