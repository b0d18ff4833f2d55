"""What a report says that only the engine knows, as values."""

from pydantic import Field

from analysis.course import Moment
from analysis.findings.recipe_report import RecipeReport
from trainables.specs import Frozen


class Told(Frozen):
    """What the engine tells of a sweep.

    Attributes:
        stages: device-seconds that its trials took, by stage as they are planned.
        progress: sentences on what is spent and left.
        ended: why the search ended before all of its samples.
        unfinished: trials that were asked for and have no record.
        repeat: the commands that run the sweep once more, from nothing.
        storage: what commands need besides to find it; empty for the default.
        random: how a simulated random search would have gone; empty where nothing tells.
        recipes: which recipe wins where, within the sweep's limits; None where nothing tells.
    """

    stages: dict[str, float] = Field(default_factory=dict)
    progress: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    unfinished: int = 0
    repeat: tuple[str, ...] = ()
    storage: str = ""
    random: tuple[Moment, ...] = ()
    recipes: RecipeReport | None = None
