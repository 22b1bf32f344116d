"""A network's forward and backward pass written to be read: every z, a, dL/da and dL/dz, in float64.

Training fuses factors and overwrites arrays, which is fast; here each factor of the chain rule stands by itself. Every
array is (units, rows), and a batch's rows do not meet: inference mode, without dropout and with batch_norm's running
figures, so that dL/dw of a batch is the mean of its rows'.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from worker.backprop.activation import Activation
from worker.backprop.activations import Softmax
from worker.backprop.arrays import Floats
from worker.backprop.layers.dense import Dense
from worker.backprop.layers.embedding import Embedding
from worker.backprop.layers.layer import Layer, column
from worker.backprop.layers.normalization import UNITS, BatchNorm, LayerNorm
from worker.backprop.layers.residual import Residual
from worker.backprop.parameters import Views


@dataclass
class Step:
    """What one layer did with its x, and, once `backward` has passed, the derivatives of the loss. inner: of a block.

    Where there is no weighted sum z is a, and dL/dz is dL/da.
    """

    layer: Layer
    views: Views
    x: Floats
    z: Floats
    a: Floats
    inner: list["Step"]
    grad_a: Floats = field(init=False)
    grad_z: Floats = field(init=False)

    @property
    def activation(self) -> Activation | None:
        return getattr(self.layer, "activation", None)


def forward(layers: Sequence[tuple[Layer, Views]], x: Floats) -> list[Step]:
    """A step a layer. x: (inputs, rows)."""
    steps: list[Step] = []
    for layer, views in layers:
        if isinstance(layer, Residual):
            inner = forward(layer.parts(views), x)
            a: Floats = x + inner[-1].a
            steps.append(Step(layer, views, x, a, a, inner))
        else:
            steps.append(Step(layer, views, x, *layer.forward(views, x), []))
        x = steps[-1].a
    return steps


def backward(steps: Sequence[Step], grad: Floats, *, is_grad_z: bool = False) -> Floats:
    """Write dL/da and dL/dz into every step, the last first; dL/dx of the first.

    grad: dL/da of the last step, or its dL/dz, whose dL/da then stands there already: a loss that is fused with its
    activation has a dL/dz that is exact where the product of two factors would overflow.
    """
    for step in reversed(steps):
        if is_grad_z:
            step.grad_z, is_grad_z = grad, False
        else:
            step.grad_a, step.grad_z = grad, _grad_z(step, grad)
        grad = _grad_x(step)
    return grad


def _grad_z(step: Step, grad_a: Floats) -> Floats:
    """dL/dz = dL/da x da/dz, by the activation that the engine trains with."""
    grad_z = grad_a.copy()
    if step.activation is not None:
        step.activation.grad_z(grad_z, step.z, step.a.copy())
    return grad_z


def _grad_x(step: Step) -> Floats:
    """dL/dx_i = sum_k dL/dz_k x dz_k/dx_i."""
    layer, grad_z = step.layer, step.grad_z
    match layer:
        case Dense():
            return step.views["w"] @ grad_z
        case BatchNorm():
            return grad_z * (column(step.views["scale"]) / column(deviation(step)))
        case LayerNorm():
            grad_n, n = grad_z * column(step.views["scale"]), normalized(step)
            # each x moves its own n and, by the mean and the variance of the row, every other
            shared = grad_n.mean(axis=UNITS, keepdims=True) + n * (grad_n * n).mean(axis=UNITS, keepdims=True)
            return (grad_n - shared) / deviation(step)
        case Residual():
            return grad_z + backward(step.inner, grad_z)
        case Embedding():
            grad_x = np.zeros_like(step.x)
            grad_x[layer.kept] = grad_z[: len(layer.kept)]
            return grad_x
        case _:
            return grad_z


def normalized(step: Step) -> Floats:
    """n of z = scale n + shift, (units, rows)."""
    assert isinstance(step.layer, LayerNorm)  # noqa: S101 - the caller has seen to it
    return step.layer.normalized(step.views, step.x)


def deviation(step: Step) -> Floats:
    """What x - mean was divided by: (units,) of batch_norm, (1, rows) of layer_norm."""
    layer = step.layer
    assert isinstance(layer, LayerNorm)  # noqa: S101 - the caller has seen to it
    if isinstance(layer, BatchNorm):
        return np.sqrt(step.views["variance"] + layer.epsilon)
    return np.sqrt(step.x.var(axis=UNITS, keepdims=True) + layer.epsilon)


def along(activation: Activation, z: Floats, a: Floats, direction: Floats) -> Floats:
    """How a moves when z moves along a direction: da_k = sum_j da_k/dz_j x direction_j. All of one row: (units,).

    Of softmax da_k/dz_j = a_k (delta_kj - a_j), source: Bishop (2006), equation 4.106; of every other activation
    da_k/dz_j is 0 but for k = j.
    """
    if isinstance(activation, Softmax):
        return a * (direction - a @ direction)
    moved: Floats = direction[:, None].copy()
    activation.grad_z(moved, z[:, None], a[:, None].copy())
    return moved[:, 0]
