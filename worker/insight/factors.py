"""The factors of the chain rule for one weight and one row: dL/da x da/dz, and x dz/dw.

Where one unit's z moves several activations, dL/dz_j = sum_k dL/da_k x da_k/dz_j, and both factors are vectors over k:
behind a softmax, and where a dense layer with activation `identity` stands before a normalisation. The two are one
neuron there, z the dense layer's and a the normalisation's; layer_norm divides by a deviation that every z has a part
in.
"""

from dataclasses import dataclass

import numpy as np

from worker.backprop.activations import Identity, Softmax
from worker.backprop.arrays import Floats
from worker.backprop.layers.dense import Dense
from worker.backprop.layers.normalization import BatchNorm, LayerNorm
from worker.insight.address import Place
from worker.insight.trace import Step, along, deviation, normalized


@dataclass(frozen=True)
class Factors:
    """dL_da and da_dz: numbers, or vectors over k. offset: 1 if a is the following normalisation's, else 0.

    product: dL_dz x dz_dw, this row's dL/dw.
    """

    dL_da: float | Floats  # noqa: N815 - the equation's own letters
    da_dz: float | Floats
    dL_dz: float  # noqa: N815
    dz_dw: float
    offset: int

    @property
    def product(self) -> float:
        return self.dL_dz * self.dz_dw


def factors_of(place: Place, steps: list[Step], row: int) -> Factors:
    """After `backward` has passed. row: in the batch."""
    among, position = place.sequence(steps)
    step, j = among[position], place.to
    dz_dw = float(place.dz_dw(step)[row])
    dL_dz = float(step.grad_z[j, row])
    following = among[position + 1] if position + 1 < len(among) else None
    if following is not None and _is_one_neuron(step, following):
        dL_da, da_dz = _through(following, j, row)
        return Factors(dL_da, da_dz, dL_dz, dz_dw, 1)
    if step.activation is None:
        return Factors(float(step.grad_a[j, row]), 1.0, dL_dz, dz_dw, 0)
    direction = np.zeros(len(step.z))
    direction[j] = 1
    moved = along(step.activation, step.z[:, row], step.a[:, row], direction)
    if isinstance(step.activation, Softmax):
        return Factors(step.grad_a[:, row].copy(), moved, dL_dz, dz_dw, 0)
    return Factors(float(step.grad_a[j, row]), float(moved[j]), dL_dz, dz_dw, 0)


def _is_one_neuron(step: Step, following: Step) -> bool:
    return (
        isinstance(step.layer, Dense)
        and isinstance(step.activation, Identity)
        and isinstance(following.layer, LayerNorm)
    )


def _through(norm: Step, j: int, row: int) -> tuple[float | Floats, float | Floats]:
    """dL/da_k of the normalisation and da_k/dx_j, its x being the neuron's z."""
    assert norm.activation is not None  # noqa: S101 - every normalisation has one
    moved = along(norm.activation, norm.z[:, row], norm.a[:, row], _dz_dx(norm, j, row))
    if isinstance(norm.layer, BatchNorm) and not isinstance(norm.activation, Softmax):
        return float(norm.grad_a[j, row]), float(moved[j])
    return norm.grad_a[:, row].copy(), moved


def _dz_dx(norm: Step, j: int, row: int) -> Floats:
    """How x_j moves every z_k of a normalisation: (units,).

    Of layer_norm scale_k (delta_kj - 1/U - n_k n_j / U) / deviation over its U units: by n_j itself, by the mean and by
    the variance. Of batch_norm at prediction scale_j / deviation_j, and 0 but for k = j.
    """
    own = np.zeros(len(norm.z))
    own[j] = 1
    if isinstance(norm.layer, BatchNorm):
        return own * norm.views["scale"] / deviation(norm)
    n = normalized(norm)[:, row]
    return norm.views["scale"] * (own - 1 / len(n) - n * n[j] / len(n)) / deviation(norm)[0, row]
