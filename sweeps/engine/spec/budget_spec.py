"""What a sweep may cost, and when it has found enough."""

from __future__ import annotations

from pydantic import Field, model_validator

from trainables.specs import Frozen


class PlateauSpec(Frozen):
    """The search ends once it finds hardly anything better.

    Attributes:
        growth: least share by which the last trials must have enlarged the hypervolume of the
            sweep's objectives, summed over the cells.
        trials: how many completed trials are the last ones.
    """

    growth: float = Field(0.01, gt=0, lt=1)
    trials: int = Field(20, ge=2)


class BudgetSpec(Frozen):
    """Limits of a sweep over all of its runs; None limits nothing.

    No new trial starts that would exceed one: what failed, was stopped or ran earlier counts, and
    of running trials and the next one what is forecast. At a rung that stops trials, those that run
    when a limit is exceeded all the same end. The closing pass runs in any case, on top of it.

    Attributes:
        device_hours: hours times devices that trials may take.
        wall_hours: hours in which trials may run.
        trials: how many, the references among them.
        disk_gib: size of the sweep's folder and the store.
        money: what the device-hours may cost, in any currency.
        price_per_device_hour: in the same currency.
        plateau: when the search has found enough; None searches on.
    """

    device_hours: float | None = Field(None, gt=0)
    wall_hours: float | None = Field(None, gt=0)
    trials: int | None = Field(None, ge=1)
    disk_gib: float | None = Field(None, gt=0)
    money: float | None = Field(None, gt=0)
    price_per_device_hour: float | None = Field(None, gt=0)
    plateau: PlateauSpec | None = None

    @model_validator(mode="after")
    def _money_has_a_price(self) -> BudgetSpec:
        if self.money is not None and self.price_per_device_hour is None:
            raise ValueError(
                f"money={self.money:g} limits nothing without a price; set "
                "budget.price_per_device_hour"
            )
        return self
