"""How a model is scored, and what its efficiency figures are for."""

from __future__ import annotations

from pydantic import Field, model_validator

from trainables.specs.base import Frozen, Split


class EvaluationSpec(Frozen):
    """Which lmms-eval tasks score a model. Tasks of the embedded model are named `tiny_<kind>`.

    Attributes:
        tasks: their names; an empty list means the embedded ones.
        search_limit: samples per task on the search split.
        report_limit: samples per task on the disjoint report split.
        batch_size: questions answered together.
        max_new_tokens: overrides the tasks' own answer lengths.
        blank_image_limit: ask so many of the search split's samples per task again with a blank
            image, to see what the image is worth to the model; None does not.
    """

    tasks: tuple[str, ...] = ()
    search_limit: int | None = Field(None, ge=1)
    report_limit: int | None = Field(None, ge=1)
    batch_size: int = Field(32, ge=1)
    max_new_tokens: int | None = Field(None, ge=1)
    blank_image_limit: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _blank_within_search(self) -> EvaluationSpec:
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


class EfficiencySpec(Frozen):
    """What the efficiency figures are for: one image, a prompt of `prompt_tokens`, batch 1."""

    prompt_tokens: int = Field(50, ge=1)
    new_tokens: int = Field(8, ge=1)
    latency_repeats: int = Field(20, ge=3)
