"""In which order each epoch meets the rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from worker.backprop.arrays import Integers

# what a generator is for: no order of use of one can disturb another
INITIAL_WEIGHTS, SHUFFLE, DROPOUT = range(3)

GeneratorState = dict[str, Any]


class Orders:
    """A generator a seed, and the order of the epoch under way: (rows,), or (members, rows) of a stack."""

    def __init__(self, seeds: Sequence[int], rows: int, *, stacked: bool) -> None:
        self._generators = [np.random.default_rng((seed, SHUFFLE)) for seed in seeds]
        self._rows, self._stacked = rows, stacked
        self._current: Integers | None = None
        self._drawn_from: list[GeneratorState] = []

    def current(self) -> Integers:
        """The order of this epoch, drawn when it is first asked for."""
        if self._current is None:
            self._drawn_from = self._states()
            orders = [generator.permutation(self._rows) for generator in self._generators]
            self._current = np.stack(orders) if self._stacked else orders[0]
        return self._current

    def end_epoch(self) -> None:
        self._current = None

    def state(self) -> list[GeneratorState]:
        """From which the order under way, or the next, is drawn."""
        return self._states() if self._current is None else self._drawn_from

    def restore(self, states: Sequence[GeneratorState]) -> None:
        self._current = None
        for generator, state in zip(self._generators, states, strict=True):
            generator.bit_generator.state = state

    def _states(self) -> list[GeneratorState]:
        return [dict(generator.bit_generator.state) for generator in self._generators]
