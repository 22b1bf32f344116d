"""A few steps of a run, of which every tensor is kept: the same operations in the same order, with a copy after each.

The training loop asks once an epoch whether a step of it is wanted; where none is, nothing stands in its way.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from worker.backprop.arrays import Floats, transposed
from worker.backprop.batches import Batch
from worker.backprop.layers.dense import DensePass
from worker.backprop.layers.dropout import DropoutPass
from worker.backprop.layers.normalization import NormPass
from worker.backprop.layers.residual import ResidualPass
from worker.backprop.network import TrainingPass
from worker.backprop.parameters import Parameters, windows
from worker.backprop.updates import Updates


class Taken(NamedTuple):
    """A step that was kept. number: of all the run's, from 1; epoch: of which it was part, from 1.

    arrays: `x`, `targets` and `row_weights` as the loss takes them; of each layer `z.layers.N`, `a...`, `grad_a...`
    and `grad_z...`, (rows, units), of dropout `mask...`, of a normalisation `n...`; and in the layout of the weights
    `before...`, `gradient...`, `update...`, `after...` and the optimizer's slots, `slots.m...` before the step.
    optimizer_steps: before it.
    """

    number: int
    epoch: int
    learning_rate: float
    optimizer_steps: int
    arrays: dict[str, Floats]


class Replay:
    """Which steps are wanted, and those that were taken since they were last collected. Of a single network."""

    def __init__(self, numbers: Collection[int]) -> None:
        self.numbers = frozenset(numbers)
        self._taken: list[Taken] = []

    def collect(self) -> list[Taken]:
        """What was taken since the last call."""
        taken, self._taken = self._taken, []
        return taken

    def wants_any(self, first: int, count: int) -> bool:
        """Whether one of so many steps from this number on is wanted."""
        return any(first <= number < first + count for number in self.numbers)

    def watch(self, updates: Updates, *, epoch: int, number: int) -> "Watch":
        """Of an epoch, from 1, whose next step has this number."""
        return Watch(self.numbers, self._taken, updates, epoch, number)


class Watch:
    """Stands between the loop and its training passes and updates for one epoch."""

    def __init__(self, numbers: frozenset[int], taken: list[Taken], updates: Updates, epoch: int, number: int) -> None:
        self._numbers, self._taken, self._updates, self._epoch = numbers, taken, updates, epoch
        self._number = number
        self._kept: dict[str, Floats] | None = None

    def passing(self, training_pass: TrainingPass) -> Callable[..., None]:
        """The pass, or for a step that is wanted the same at leisure."""

        def call(x: Floats, targets: Floats, weights: Floats | None, z: Floats, generator: np.random.Generator) -> None:
            if self._number not in self._numbers:
                training_pass(x, targets, weights, z, generator)
                return
            parameters, optimizer = self._updates.parameters, self._updates.optimizer
            self._kept = _in_layout("before", parameters, parameters.flat)
            for name, slot in optimizer.slots.items():
                self._kept |= _in_layout(f"slots.{name}", parameters, slot, frozen=self._updates.plan.frozen)
            _pass_at_leisure(training_pass, (x, targets, weights, z), generator, self._kept)
            gradients = self._updates.gradients
            self._kept |= _in_layout("gradient", gradients, gradients.flat)

        return call

    def take(self, rows: int, learning_rate: Any, **options: bool) -> None:
        """Make the step; what `Updates.take` does."""
        steps = self._updates.optimizer.steps
        before = self._updates.parameters.flat.copy() if self._kept is not None else None
        self._updates.take(rows, learning_rate, **options)
        if self._kept is not None and before is not None:
            parameters = self._updates.parameters
            kept = self._kept | _in_layout("after", parameters, parameters.flat)
            kept |= _in_layout("update", parameters, parameters.flat - before)
            self._taken.append(Taken(self._number, self._epoch, float(learning_rate), steps, kept))
            self._kept = None
        self._number += 1


def _in_layout(prefix: str, parameters: Parameters, flat: Floats, *, frozen: int = 0) -> dict[str, Floats]:
    """A copy of a flat array, cut as the parameters are: `before.layers.0.w`. frozen: layers that it leaves out."""
    return {
        f"{prefix}.layers.{n}.{name}": view
        for n, views in enumerate(windows(flat.copy(), parameters.shapes[frozen:]), frozen)
        for name, view in views.items()
    }


def _pass_at_leisure(
    training_pass: TrainingPass, batch: Batch, generator: np.random.Generator, kept: dict[str, Floats]
) -> None:
    """What `TrainingPass` does, line by line, keeping what each line made."""
    x, targets, weights, z = batch
    kept |= {"x": _rows(x[:-1]), "targets": _rows(targets)}
    if weights is not None:
        kept["row_weights"] = weights.ravel().copy()
    names = [f"layers.{n}" for n in range(len(training_pass.hidden))]
    a = x
    for name, layer in zip(names, training_pass.hidden, strict=True):
        a = _forward(layer, name, a, generator, kept)
    last = f"layers.{len(names)}"
    training_pass.output.weighted_sum(a, z)
    kept |= {f"z.{last}": _rows(z), f"a.{last}": _rows(training_pass.objective.activation.value(z.copy()))}
    training_pass.objective.grad_z(z, targets, training_pass.grad_z, training_pass.scale)
    if weights is not None:
        np.multiply(training_pass.grad_z, weights, training_pass.grad_z)
    kept[f"grad_z.{last}"] = _rows(training_pass.grad_z)
    grad_a = training_pass.output.backward_from_z(training_pass.grad_z)
    # the layers before the first that has weights have no part in it
    for layer, name in zip(training_pass.hidden_backward, reversed(names), strict=False):
        grad_a = _backward(layer, name, grad_a, kept)


def _forward(layer: Any, name: str, x: Floats, generator: np.random.Generator, kept: dict[str, Floats]) -> Floats:
    a: Floats
    match layer:
        case DensePass():
            kept[f"z.{name}"] = _rows(layer.weighted_sum(x, layer.z))
            layer.activation.value(layer.z, layer.a)
            a = layer.out
        case ResidualPass():
            a = x
            for n, inner in enumerate(layer.passes):
                a = _forward(inner, f"{name}.layers.{n}", a, generator, kept)
            np.add(a[..., :-1, :], x[..., :-1, :], out=layer.a)
            a = layer.out
        case NormPass():
            a = layer.forward(x, generator)
            kept |= {f"n.{name}": _rows(layer.n), f"z.{name}": _rows(layer.layer.stretched(layer.views, layer.n))}
        case _:
            a = layer.forward(x, generator)
            if isinstance(layer, DropoutPass):
                kept[f"mask.{name}"] = _rows(layer.mask)
    kept[f"a.{name}"] = _rows(layer.a)
    return a


def _backward(layer: Any, name: str, grad_a: Floats, kept: dict[str, Floats]) -> Floats:
    kept[f"grad_a.{name}"] = _rows(grad_a)
    match layer:
        case ResidualPass():
            np.copyto(layer.grad_x, grad_a)
            for n in reversed(range(len(layer.passes))):
                grad_a = _backward(layer.passes[n], f"{name}.layers.{n}", grad_a, kept)
            layer.grad_x += grad_a
            return layer.grad_x
        case DensePass():
            grad_x = layer.backward(grad_a)
            # what came in as dL/da stands now as dL/dz
            kept[f"grad_z.{name}"] = _rows(grad_a)
            return grad_x
        case NormPass():
            grad_z = grad_a.copy()
            z = layer.z.copy() if layer.activation.keeps_z else layer.a.copy()
            layer.layer.activation.grad_z(grad_z, z, layer.a.copy())
            kept[f"grad_z.{name}"] = _rows(grad_z)
            return layer.backward(grad_a)
        case _:
            return layer.backward(grad_a)


def _rows(values: Floats) -> Floats:
    """A copy, (rows, units)."""
    return transposed(values).copy()
