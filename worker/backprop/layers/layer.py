"""What a layer is: its parameters, its pure forward pass, its training pass, and its factors of the chain rule.

`forward` changes nothing, so a threaded web process can predict with a layer. A training pass adds arrays that are
allocated once per batch size and used again by every step. `step`, and the methods that take a step, are written to be
read rather than to be fast: they compute every factor separately, for a single network in inference mode.

A new kind of layer is a class with every member of `Layer`, whose training pass has every member of `Pass`; mypy names
the missing ones where `networks/layers.py` builds it. The other closed matches are in `networks/onnx/layers.py`,
`networks/pytorch.py` and `intake/cost.py`.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike

from worker.backprop.activation_base import Activation
from worker.backprop.arrays import Floats, transposed
from worker.backprop.parameters import Shapes, Views
from worker.errors import QuestionError, ShapeError

Source = int | Literal["bias", "scale", "shift"]
"Where a weight comes from: the number of a unit in the layer before, the number of a category, or one of these words."


class Activity(NamedTuple):
    """One layer's output for a batch, each (..., units, rows): a = f(z). If the layer has no f, a is z."""

    z: Floats
    a: Floats


class Keep:
    """Copies the tensors of one layer into `arrays`, each as (rows, units), under names such as `z.layers.1`."""

    def __init__(self, arrays: dict[str, Floats], layer: str) -> None:
        self._arrays, self._layer = arrays, layer

    def __call__(self, kind: str, values: Floats) -> None:
        """Keep a copy of an array. kind: what it is, such as `z` or `grad_a`. values: (units, rows)."""
        self._arrays[f"{kind}.{self._layer}"] = transposed(values).copy()

    def inner(self, n: int) -> "Keep":
        """Return a Keep for one of a block's own layers."""
        return Keep(self._arrays, f"{self._layer}.layers.{n}")


class Pass(Protocol):
    """Trains one layer on batches with a fixed number of rows."""

    def forward(self, x: Floats, generator: np.random.Generator) -> Floats:
        """Return a, keeping what `backward` needs. x and a have one more row, of ones: see `with_ones`."""

    def backward(self, grad_a: Floats) -> Floats:
        """Write the layer's gradients and return dL/dx; may overwrite grad_a. grad_a: (..., units, rows).

        The first trained layer may return anything: its dL/dx is not used.
        """

    def activities(self) -> Iterator[tuple[Activation, Floats]]:
        """Yield each activation with its a from the last forward pass, including those of a block's own layers."""

    def replay_forward(self, x: Floats, generator: np.random.Generator, keep: Keep) -> Floats:
        """Do exactly what `forward` does, and keep a copy of every tensor on the way."""

    def replay_backward(self, grad_a: Floats, keep: Keep) -> Floats:
        """Do exactly what `backward` does, and keep a copy of every tensor on the way."""


@dataclass
class Step:
    """One layer's forward pass with all its arrays kept; `backward` adds the derivatives of the loss.

    x: (inputs, rows).
    z, a, grad_a, grad_z: (units, rows).
    inner: the steps of a block's own layers, in order.
    A layer without activation has z = a and dL/dz = dL/da.
    """

    layer: "Layer"
    views: Views
    x: Floats
    z: Floats
    a: Floats
    inner: list["Step"] = field(default_factory=list)
    grad_a: Floats = field(init=False)
    grad_z: Floats = field(init=False)


@dataclass(frozen=True)
class Weight:
    """One trained number of a layer.

    array: the name of the array that it is in.
    index: its place in that array.
    unit: the unit whose z it affects.
    dz_dw: returns the last factor of the chain rule for each row of a step, (rows,).
    """

    array: str
    index: tuple[int, ...]
    unit: int
    dz_dw: Callable[[Step], Floats]


class Layer(Protocol):
    """What every kind of layer provides.

    inputs, units: how many units enter and leave it.
    """

    inputs: int
    units: int

    @property
    def activation(self) -> Activation | None:
        """f of a = f(z); None if z is the output."""

    @property
    def layers(self) -> Sequence["Layer"]:
        """A block's own layers; none for every other layer."""

    @property
    def shapes(self) -> Shapes:
        """The shape of each array by name; the arrays of a block's own layers have names like `layers.0.w`."""

    @property
    def penalised(self) -> Collection[str]:
        """The arrays that penalties and weight decay act on."""

    @property
    def running(self) -> Collection[str]:
        """The arrays of running figures, which are updated by forward passes and not by gradients."""

    @property
    def training_note(self) -> str | None:
        """A sentence that says how training differs from inference mode; None if it does not."""

    def initialize(self, views: Views, generator: np.random.Generator) -> None:
        """Write the first values into the views."""

    def forward(self, views: Views, x: Floats) -> Activity:
        """Return z and a in inference mode; change nothing. x: (..., inputs, rows)."""

    def training_pass(self, views: Views, gradients: Views, rows: int, *, first: bool) -> Pass:
        """Return a pass for batches of `rows` rows, which writes into the gradients' views.

        first: this is the first layer that is trained, so its dL/dx is not needed.
        """

    def step(self, views: Views, x: Floats) -> Step:
        """Run a forward pass and return all its arrays. x: (inputs, rows)."""

    def grad_x(self, step: Step) -> Floats:
        """Return dL/dx_i = sum_k dL/dz_k x dz_k/dx_i, (inputs, rows), from a step that has its grad_z."""

    def write_gradients(self, step: Step, into: Views) -> None:
        """Write the layer's dL/dw, averaged over the rows, into `into`.

        into: zeros in the layer's layout; those of running figures stay 0.
        """

    def locate(self, source: Source, to: int, pointer: str) -> Weight:
        """Return the weight from a source to a unit, or in an embedding to a dimension.

        pointer: the place in the question that names this layer.
        Raises QuestionError if the layer has no such weight.
        """

    def neuron_slopes(self, step: Step, j: int, row: int) -> float | Floats | None:
        """Return dz_k/dx_j for one row if this layer completes the neurons of a weighted sum before it; else None.

        Only a normalisation does. A single number is dz_j/dx_j, when all others are 0. An array has a number for each
        k, (units,).
        """


def forward(layers: Sequence[tuple[Layer, Views]], x: Floats) -> list[Step]:
    """Return one step for each layer. x: (inputs, rows)."""
    steps: list[Step] = []
    for layer, views in layers:
        steps.append(layer.step(views, x))
        x = steps[-1].a
    return steps


def backward(steps: Sequence[Step], grad: Floats, *, is_grad_z: bool = False) -> Floats:
    """Write dL/da and dL/dz into every step, the last first, and return dL/dx of the first.

    grad: dL/da of the last step.
    is_grad_z: `grad` is dL/dz instead, and the last step already has its dL/da. A loss fused with its activation has an
        exact dL/dz even where the product of the two factors would overflow.
    """
    for step in reversed(steps):
        if is_grad_z:
            step.grad_z, is_grad_z = grad, False
        else:
            step.grad_a, step.grad_z = grad, grad.copy()
            if step.layer.activation is not None:
                # dL/dz = dL/da x da/dz, by the activation that the engine trains with
                step.layer.activation.grad_z(step.grad_z, step.z, step.a.copy())
        grad = step.layer.grad_x(step)
    return grad


def check_position(pointer: str, given: Source, count: int, also: str = "") -> int:
    """Return the given position if it is an integer below the count. Raises QuestionError otherwise.

    also: words for the error message that name what else is allowed there.
    """
    if not isinstance(given, int) or not 0 <= given < count:
        raise QuestionError(pointer, f"must be from 0 to {count - 1}{also}")
    return given


def check_widths(layers: Sequence[Layer]) -> None:
    """Raise ShapeError unless each layer has as many inputs as the one before it has units."""
    for before, after in pairwise(layers):
        if before.units != after.inputs:
            raise ShapeError(f"a layer of {before.units} units can't feed one of {after.inputs} inputs")


def with_ones(units: int, rows: int, flat: Floats) -> tuple[Floats, Floats]:
    """Return an array for a layer's output whose last row is ones, and a view of all the other rows.

    The ones make the bias one more weight: z = w^T x + b is a single product, and so are dL/dw and dL/db together. That
    saves a quarter of a training step of the smallest benchmark network.
    flat: the layer's parameters; the output has the same members and dtype.
    """
    out = np.ones((*flat.shape[:-1], units + 1, rows), flat.dtype)
    return out, out[..., :units, :]


def column(b: Floats) -> Floats:
    """Return (..., units) as (..., units, 1), which broadcasts over rows."""
    return b[..., None]


def empty(views: Views, units: int, rows: int, dtype: DTypeLike | None = None) -> Floats:
    """Return an array of (..., units, rows) for a layer with these parameters."""
    return np.empty((*views.flat.shape[:-1], units, rows), dtype or views.flat.dtype)
