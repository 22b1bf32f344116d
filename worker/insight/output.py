"""Where back-propagation starts: dL/da of the output layer, and dL/dz by the long product and by the short form.

A fused loss is trained by its short form a - y, in which softmax and cross-entropy (or sigmoid and binary
cross-entropy, or exp and Poisson) have cancelled. Here the long product is computed as well, factor by factor.
"""

from dataclasses import dataclass

import numpy as np

from worker.backprop.arrays import Floats, Targets
from worker.backprop.losses.classes import BinaryCrossEntropy, SoftmaxCrossEntropy
from worker.backprop.losses.numbers import Distance, Poisson
from worker.backprop.losses.objective import Objective
from worker.insight.trace import Step


@dataclass(frozen=True)
class Output:
    """Of each row by itself, as if it were the whole batch. All (outputs, rows).

    y: the target that a is compared with. grad_z: what training uses; of a fused loss the short form.
    long: dL/da x da/dz, summed over k for softmax; not finite where a is too near 0 or 1 for its digits.
    """

    y: Floats
    grad_a: Floats
    long: Floats
    grad_z: Floats
    fused: bool


@np.errstate(all="ignore")
def output_of(objective: Objective, step: Step, y: Targets) -> Output:
    """The start of the backward pass. step: the output layer's; y: as the objective takes it."""
    units = step.z.shape[0]
    targets = objective.encode(y, units, np.float64)
    plain = (targets + 1) / 2 if isinstance(objective, BinaryCrossEntropy) else targets
    grad_a = _grad_a(objective, step.a, plain)
    long = grad_a.copy()
    objective.activation.grad_z(long, step.z, step.a.copy())
    grad_z = np.empty_like(step.z)
    objective.grad_z(step.z.copy(), targets, grad_z, np.asarray(objective.scale(1, units)))
    return Output(plain, grad_a, long, grad_z, not isinstance(objective, Distance))


def _grad_a(objective: Objective, a: Floats, y: Floats) -> Floats:
    """dL/da of a row's loss.

    Of -sum_k y_k log a_k: -y_k / a_k. Of the mean over the outputs of -y log a - (1 - y) log(1 - a):
    (a - y) / (a (1 - a)); of a - y log a: 1 - y / a; of a distance: its slope; each over the number of outputs.
    Source: Bishop (2006), sections 4.3.2 and 4.3.4; Poisson: McCullagh and Nelder (1989), chapter 6.
    """
    outputs = len(a)
    match objective:
        case SoftmaxCrossEntropy():
            return np.where(y == 0, 0.0, -y / a)
        case BinaryCrossEntropy():
            return ((1 - y) / (1 - a) - y / a) / outputs
        case Poisson():
            return (1 - y / a) / outputs
        case Distance():
            slope = a - y
            objective.slope(slope, slope)
            return slope * objective.scale(1, outputs)
        case _:
            raise TypeError(type(objective).__name__)
