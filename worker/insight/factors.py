"""The factors of the chain rule for one weight and one row: dL/da x da/dz x dz/dw.

If one unit's z affects several activations, dL/dz_j = sum_k dL/da_k x da_k/dz_j, and both factors are vectors over k.
This happens with softmax, and where a dense layer with activation `identity` is followed by layer_norm, in which every
z affects the deviation that all are divided by. A dense layer with activation `identity` and the normalisation after it
count as one layer of neurons: z is the dense layer's and a the normalisation's.
"""

from dataclasses import dataclass

import numpy as np

from worker.backprop.activations import Identity
from worker.backprop.arrays import Floats
from worker.backprop.layers.dense import Dense
from worker.backprop.layers.layer import Step
from worker.insight.address import Place


@dataclass(frozen=True)
class Factors:
    """The factors for one weight and one row.

    dL_da, da_dz: numbers, or vectors over k, (units,).
    offset: 1 if the a in them is that of the normalisation after the weight's layer; otherwise 0.
    """

    dL_da: float | Floats  # noqa: N815 - the equation's own letters
    da_dz: float | Floats
    dL_dz: float  # noqa: N815
    dz_dw: float
    offset: int

    @property
    def product(self) -> float:
        """This row's dL/dw = dL/dz x dz/dw."""
        return self.dL_dz * self.dz_dw


def factors_of(place: Place, steps: list[Step], row: int) -> Factors:
    """Return the factors for one row. steps: the network's after a backward pass. row: the row's place in the batch."""
    among, position = place.sequence(steps)
    step, j = among[position], place.weight.unit
    dz_dw = float(place.weight.dz_dw(step)[row])
    dL_dz = float(step.grad_z[j, row])
    slopes = _slopes_of_neuron(among, position, j, row)
    if slopes is not None:
        dL_da, da_dz = _product(among[position + 1], j, row, slopes)
        return Factors(dL_da, da_dz, dL_dz, dz_dw, 1)
    dL_da, da_dz = _product(step, j, row, 1.0)
    return Factors(dL_da, da_dz, dL_dz, dz_dw, 0)


def _slopes_of_neuron(among: list[Step], position: int, j: int, row: int) -> float | Floats | None:
    """Return the derivative in z_j of every z_k of the next layer; None unless it completes this layer's neurons."""
    step, following = among[position], among[position + 1 : position + 2]
    if not following or not isinstance(step.layer, Dense) or not isinstance(step.layer.activation, Identity):
        return None
    return following[0].layer.neuron_slopes(following[0], j, row)


def _product(step: Step, j: int, row: int, slopes: float | Floats) -> tuple[float | Floats, float | Floats]:
    """Return dL/da_k and the derivative of a_k along the slopes, as vectors over k or as numbers for k = j.

    slopes: the derivative of each z_k of the step, (units,); a number is that of z_j alone.
    """
    activation, a = step.layer.activation, step.a[:, row]
    direction = slopes
    if not isinstance(direction, np.ndarray):
        direction = np.zeros(len(a))
        direction[j] = slopes
    moved = direction if activation is None else activation.along(step.z[:, row], a, direction)
    if isinstance(slopes, np.ndarray) or (activation is not None and activation.couples_units):
        return step.grad_a[:, row].copy(), moved
    return float(step.grad_a[j, row]), float(moved[j])
