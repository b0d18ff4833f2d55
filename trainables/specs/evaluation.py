"""How a model is scored, and what its efficiency figures are for."""

from __future__ import annotations

from pydantic import Field

from trainables.specs.base import Frozen, Split


class EvaluationSpec(Frozen):
    """Which lmms-eval tasks score a model. Tasks of the embedded model are named `tiny_<kind>`.

    `search_limit` and `report_limit` cap the samples per task on the two disjoint splits.
    """

    tasks: tuple[str, ...] = ()
    search_limit: int | None = Field(None, ge=1)
    report_limit: int | None = Field(None, ge=1)
    batch_size: int = Field(32, ge=1)
    max_new_tokens: int | None = Field(None, ge=1)

    def limit(self, split: Split) -> int | None:
        """Samples per task on `split`; None is all of them."""
        return self.search_limit if split == "search" else self.report_limit


class EfficiencySpec(Frozen):
    """What the efficiency figures are for: one image, a prompt of `prompt_tokens`, batch 1."""

    prompt_tokens: int = Field(50, ge=1)
    new_tokens: int = Field(8, ge=1)
    latency_repeats: int = Field(20, ge=3)
