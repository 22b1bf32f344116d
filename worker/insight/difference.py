"""The derivative by central finite differences in float64: what back-propagation is checked against.

D(h) = (L(w + h) - L(w - h)) / 2h errs by about h^2 L'''/6, and by round-off of about epsilon L / h. Richardson's
(4 D(h/2) - D(h)) / 3 cancels the first. Source: Press et al. (2007), Numerical Recipes, section 5.7.

Where the loss has a kink, as that of a relu whose z is 0, there is no derivative, and any difference is a matter of
the step. So each look at the loss also says on which side of every kink it was; a step that changes a side is shortened
until it does not, and if the shortest still does, w stands on the kink itself.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.backprop.activation import Activation
from worker.backprop.activations import HardSigmoid, LeakyRelu, Selu
from worker.backprop.arrays import Floats
from worker.backprop.losses.numbers import MeanAbsoluteError, Quantile
from worker.backprop.losses.objective import Objective
from worker.backprop.relu import Relu

STEPS = (1e-4, 1e-5, 1e-6, 1e-7)
"of the larger of 1 and |w|, from long to short"
TOLERANCE = 1e-6
GOOD = 1e-7
"Of the derivative: an uncertainty below which no shorter step is tried."
ROUNDINGS = 32
"Of the loss by its last bit, at most; e^z carries those of z with it. Found by questions about random networks."

KINKS: dict[type[Activation], tuple[float, ...]] = {
    Relu: (0.0,),
    LeakyRelu: (0.0,),
    Selu: (0.0,),
    HardSigmoid: (0.0, 1.0),
}
"a at which da/dz jumps"
Signs = NDArray[np.float64]


class Look(NamedTuple):
    """The loss at one value, and on which side of every kink that was: -1, 0 or 1."""

    loss: float
    sides: Signs


@dataclass(frozen=True)
class Difference:
    """value: of the derivative. uncertainty: of the value, by truncation and round-off, as the steps themselves tell.

    step: h. left, right: the one-sided derivatives where even the shortest step meets a kink, else None.
    """

    value: float
    uncertainty: float
    step: float
    left: float | None = None
    right: float | None = None

    @property
    def is_known(self) -> bool:
        """False where even the shortest step takes the loss out of float64's reach."""
        return math.isfinite(self.value + self.uncertainty)

    def relative_error(self, gradient: float) -> float:
        """|gradient - value| over the larger of the two; 0 if both are 0."""
        larger = max(abs(gradient), abs(self.value))
        return abs(gradient - self.value) / larger if larger else 0.0

    def agrees(self, gradient: float) -> bool:
        """Whether they are equal to a millionth, or to what round-off leaves to tell."""
        larger = max(abs(gradient), abs(self.value))
        return abs(gradient - self.value) <= TOLERANCE * larger + self.uncertainty

    def verdict(self, gradient: float) -> str:
        """`agrees`; or `kink`, where no derivative exists to agree with; or `differs`, which is a fault of ours.

        One unit's kink may have no part in the loss, or be undone by another's: then both sides have one slope. Yet
        back-propagation, which takes every relu's derivative at 0 as 0, may give another; that is the kink's doing too.
        """
        if self.left is not None and self.right is not None and self._jumps(self.left, self.right):
            return "kink"
        if self.agrees(gradient):
            return "agrees"
        return "differs" if self.left is None else "kink"

    def _jumps(self, left: float, right: float) -> bool:
        return abs(right - left) > TOLERANCE * max(abs(left), abs(right)) + self.uncertainty


def central_difference(look: Callable[[float], Look], at: float, *, size: float = 0.0) -> Difference:
    """The derivative of the loss in one number, at its value. size: of what moves with it, if larger than 1 and |at|.

    Of the steps that cross no kink the one of the least uncertainty is taken, which the steps themselves tell.
    """
    here, found = look(at), []
    for step in STEPS:
        one, crossed = _by_step(look, at, here, step * max(1.0, abs(at), size))
        if crossed and step != STEPS[-1]:
            continue
        found.append(one)
        if one.uncertainty <= GOOD * abs(one.value):
            break
    return min(found, key=lambda one: (one.left is not None, one.uncertainty))


def _by_step(look: Callable[[float], Look], at: float, here: Look, h: float) -> tuple[Difference, bool]:
    """By steps of h and h/2; and whether these crossed a kink."""
    left, right, near_left, near_right = (look(at + share * h) for share in (-1, 1, -0.5, 0.5))
    far = (right.loss - left.loss) / (2 * h)
    near = (near_right.loss - near_left.loss) / h
    round_off = ROUNDINGS * sys.float_info.epsilon * max(1.0, abs(here.loss)) / h
    # three times what the difference of the two estimates says of the second
    uncertainty = abs(near - far) + round_off
    if not math.isfinite(uncertainty):
        # the loss overflows at one of these steps; a shorter one may not reach so far
        return Difference(near, math.inf, h), True
    if not (np.array_equal(here.sides, left.sides) and np.array_equal(here.sides, right.sides)):
        one_sided = (here.loss - left.loss) / h, (right.loss - here.loss) / h
        return Difference(near, round_off, h, *one_sided), True
    return Difference((4 * near - far) / 3, uncertainty, h), False


def sides(parts: Sequence[tuple[Activation, Floats]], objective: Objective, error: Floats) -> Signs:
    """On which side of each kink every a is. parts: activations with their a; error: a - y, of the output."""
    found = [_signs(a, KINKS.get(type(activation), ())) for activation, a in parts]
    if isinstance(objective, MeanAbsoluteError | Quantile):
        found.append(np.sign(error).ravel())
    return np.concatenate([np.empty(0), *found])


def _signs(values: Floats, at: tuple[float, ...]) -> Signs:
    return np.concatenate([np.empty(0), *(np.sign(values - place).ravel() for place in at)])
