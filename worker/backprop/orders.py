"""The order of the rows in each epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from worker.backprop.arrays import Integers

# each purpose has its own generator, so that drawing more numbers for one does not change the numbers of another
INITIAL_WEIGHTS, SHUFFLE, DROPOUT = range(3)

GeneratorState = dict[str, Any]


class Orders:
    """Draws the order of the rows in each epoch, (rows,), or (members, rows) for a stack. Each seed has a generator."""

    def __init__(self, seeds: Sequence[int], rows: int, *, stacked: bool) -> None:
        self._generators = [np.random.default_rng((seed, SHUFFLE)) for seed in seeds]
        self._rows, self._stacked = rows, stacked
        self._current: Integers | None = None
        self._drawn_from: list[GeneratorState] = []

    def current(self) -> Integers:
        """Return the order of this epoch, drawn at the first call."""
        if self._current is None:
            self._drawn_from = self._states()
            orders = [generator.permutation(self._rows) for generator in self._generators]
            self._current = np.stack(orders) if self._stacked else orders[0]
        return self._current

    def end_epoch(self) -> None:
        self._current = None

    def state(self) -> list[GeneratorState]:
        """Return the generators' states from which the current order was drawn, or the next one will be."""
        return self._states() if self._current is None else self._drawn_from

    def restore(self, states: Sequence[GeneratorState]) -> None:
        self._current = None
        for generator, state in zip(self._generators, states, strict=True):
            generator.bit_generator.state = state

    def _states(self) -> list[GeneratorState]:
        return [dict(generator.bit_generator.state) for generator in self._generators]
