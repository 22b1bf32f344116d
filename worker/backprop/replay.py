"""Keeps every tensor of chosen steps of a run: the same operations in the same order, with a copy after each.

The training loop asks once for each epoch whether it has a wanted step; an epoch without one runs as usual.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np

from worker.backprop.arrays import Floats
from worker.backprop.network import TrainingPass
from worker.backprop.parameters import Parameters, windows
from worker.backprop.updates import Updates


class KeptStep(NamedTuple):
    """A step with all its tensors.

    number: its number in the run, from 1.
    epoch: the epoch that it belongs to, from 1.
    optimizer_steps: how many steps the optimizer had taken before.
    arrays: the tensors by name:
        - `x`, `targets` and `row_weights`, as the loss takes them;
        - for each layer N, each (rows, units): `z.layers.N`, `a.layers.N`, `grad_a.layers.N` and `grad_z.layers.N`, in
          dropout `mask.layers.N`, in a normalisation `n.layers.N`;
        - for each array of the weights, such as `layers.0.w`: `before.layers.0.w`, `gradient...`, `update...`,
          `after...`, and each of the optimizer's slots before the step, such as `slots.m.layers.0.w`.
    """

    number: int
    epoch: int
    learning_rate: float
    optimizer_steps: int
    arrays: dict[str, Floats]


class Replay:
    """The numbers of the wanted steps, and the steps taken since the last `collect`. For a single network."""

    def __init__(self, numbers: Collection[int]) -> None:
        self.numbers = frozenset(numbers)
        self._taken: list[KeptStep] = []

    def collect(self) -> list[KeptStep]:
        """Return the wanted steps that were taken since the last call."""
        taken, self._taken = self._taken, []
        return taken

    def wants_any(self, first: int, count: int) -> bool:
        """Return whether one of `count` steps, beginning with number `first`, is wanted."""
        return any(first <= number < first + count for number in self.numbers)

    def watch(self, updates: Updates, *, epoch: int, number: int) -> "Watch":
        """Return a watcher for this epoch. number: that of its next step. Both are counted from 1."""
        return Watch(self.numbers, self._taken, updates, epoch, number)


class Watch:
    """Replaces the training pass and the update in one epoch with versions that keep the wanted steps."""

    def __init__(
        self, numbers: frozenset[int], taken: list[KeptStep], updates: Updates, epoch: int, number: int
    ) -> None:
        self._numbers, self._taken, self._updates, self._epoch = numbers, taken, updates, epoch
        self._number = number
        self._kept: dict[str, Floats] | None = None

    def passing(self, training_pass: TrainingPass) -> Callable[..., None]:
        """Return a function that calls the pass, and keeps its tensors if the step is wanted."""

        def call(x: Floats, targets: Floats, weights: Floats | None, z: Floats, generator: np.random.Generator) -> None:
            if self._number not in self._numbers:
                training_pass(x, targets, weights, z, generator)
                return
            parameters, optimizer = self._updates.parameters, self._updates.optimizer
            self._kept = _in_layout("before", parameters, parameters.flat)
            for name, slot in optimizer.slots.items():
                self._kept |= _in_layout(f"slots.{name}", parameters, slot, frozen=self._updates.plan.frozen)
            training_pass.replay((x, targets, weights, z), generator, self._kept)
            gradients = self._updates.gradients
            self._kept |= _in_layout("gradient", gradients, gradients.flat)

        return call

    def apply(self, rows: int, learning_rate: float | Floats, *, last: bool = True, layers: bool = False) -> None:
        """Do what `Updates.apply` does, and keep the weights after a wanted step."""
        updates, kept, self._kept = self._updates, self._kept, None
        steps, before = updates.optimizer.steps, None if kept is None else updates.parameters.flat.copy()
        updates.apply(rows, learning_rate, last=last, layers=layers)
        if kept is not None and before is not None:
            kept |= _in_layout("after", updates.parameters, updates.parameters.flat)
            kept |= _in_layout("update", updates.parameters, updates.parameters.flat - before)
            self._taken.append(KeptStep(self._number, self._epoch, float(learning_rate), steps, kept))
        self._number += 1


def _in_layout(prefix: str, parameters: Parameters, flat: Floats, *, frozen: int = 0) -> dict[str, Floats]:
    """Return a copy of a flat array as views with names like `before.layers.0.w`.

    frozen: how many of the first layers the array does not cover.
    """
    return {
        f"{prefix}.layers.{n}.{name}": view
        for n, views in enumerate(windows(flat.copy(), parameters.shapes[frozen:]), frozen)
        for name, view in views.items()
    }
