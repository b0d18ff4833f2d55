"""The search over the cells of a sweep: whose turn it is, and what is tried there."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from search_spaces.factors import Cell
from sweeps.engine.search.cells import Cells, beyond, cells_of
from sweeps.engine.search.keys import trial_key
from sweeps.engine.search.observations import cell_id
from sweeps.engine.search.points_left import PointsLeft
from sweeps.engine.search.sampler import Proposal, draw, propose
from sweeps.engine.search.sources import Source
from sweeps.engine.search.standing import Standing
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.used_up import UsedUp, UsedUpCell
from trainables.models.families.shape import LanguageShape
from trainables.specs import TrialSpec

PROPOSALS = 20  # of the sampler, known trials all of them, before one is drawn from the rest
DRAWS = 1000  # from the rest: so many are known only where continuous factors are rounded


class Search:
    """Chooses the sampled trials; the cells take turns, so that each gets its equal share.

    Args:
        sweep: what is asked.
        shape: sizes of the dense language model.
        standing: what is known, which the caller keeps up to date.
        sources: earlier sweeps.
    """

    def __init__(
        self,
        sweep: SweepSpec,
        shape: LanguageShape,
        standing: Standing,
        sources: Sequence[Source] = (),
    ) -> None:
        self._sources = sources
        self._sweep, self._shape, self._standing = sweep, shape, standing
        self._space, self._base = sweep.search_space, sweep.base_trial
        self._objectives = sweep.goals.objectives
        cells = cells_of(sweep, shape) if sweep.samples else Cells((), ())
        self._closed = cells.closed
        self._left = [
            PointsLeft(self._space, cell, self._base, self._key, standing.keys)
            for cell in cells.open
        ]
        self._dry: set[int] = set()  # cells with continuous factors where all draws were known

    def next(self) -> tuple[Cell, Proposal] | None:
        """A new trial for the cell whose turn it is; None at the end of the search."""
        while self._standing.sampled.total() < self._sweep.samples:
            open_ = [i for i in range(len(self._left)) if not self._used_up(i)]
            if not open_:
                return None
            turn = min(open_, key=lambda i: self._standing.sampled[cell_id(self._left[i].cell)])
            for proposal in self._proposals(self._left[turn]):
                known = self._key(proposal.spec) in self._standing.keys
                if not known and not beyond(self._sweep, proposal.spec, self._shape):
                    return self._left[turn].cell, proposal
            self._dry.add(turn)
        return None

    def used_up(self) -> UsedUp | None:
        """The cells that have nothing left to try; None while every cell has, or none is asked."""
        if not self._sweep.samples:
            return None
        cells = self._closed + tuple(
            UsedUpCell(cell=dict(left.cell), points=None if i in self._dry else len(left.points))
            for i, left in enumerate(self._left)
            if self._used_up(i)
        )
        return UsedUp(cells=cells, of=len(self._left) + len(self._closed)) if cells else None

    def _used_up(self, turn: int) -> bool:
        return turn in self._dry or self._left[turn].used_up()

    def _key(self, spec: TrialSpec) -> str:
        return trial_key(spec, self._shape)

    def _proposals(self, left: PointsLeft) -> Iterator[Proposal]:
        """Trials of a cell until one is new: the sampler's, then random ones from the rest.

        Each time the sampler proposes what is known, the choice that led there is left out.
        """
        where = (self._space, left.cell, self._base)
        seed = (self._sweep.seed, self._standing.index)
        observations = self._standing.telling()
        rng = np.random.default_rng((*seed, PROPOSALS))
        for source in self._sources:
            if rng.random() < source.weight(observations):
                answers = source.best_for(left.cell, observations)
                if answers is not None:
                    yield draw(*where, answers, seed, "source")
        prior = [told for source in self._sources for told in source.told(observations)]
        without: dict[str, set[Any]] = defaultdict(set, left.closed())
        for attempt in range(PROPOSALS):
            proposal = propose(
                *where,
                observations,
                seed=(*seed, attempt),
                sampler=self._sweep.sampler,
                startup=self._sweep.startup,
                without=without,
                objectives=self._objectives,
                prior=prior,
            )
            yield proposal
            if dead_end := left.dead_end(proposal.params):
                without[dead_end[0]].add(dead_end[1])
        for attempt in range(DRAWS):
            yield draw(*where, left.way(rng), (*seed, PROPOSALS + attempt))
