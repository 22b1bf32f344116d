"""The derivative by central finite differences in float64, against which back-propagation is checked.

D(h) = (L(w + h) - L(w - h)) / 2h errs by about h^2 L'''/6, and by round-off of about epsilon L / h. Richardson's
(4 D(h/2) - D(h)) / 3 cancels the first. Source: Press et al. (2007), Numerical Recipes, section 5.7.

At a kink of the loss, as where a relu has z = 0, there is no derivative, and the difference depends on the step. So
each look at the loss also says on which side of every kink it was. A step that changes a side is shortened until it
does not. If the shortest step still does, w is at the kink itself.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.backprop.activation import Activation
from worker.backprop.arrays import Floats
from worker.backprop.losses.objective import Objective

STEPS = (1e-4, 1e-5, 1e-6, 1e-7)
"As shares of the larger of 1 and |w|, from long to short."
TOLERANCE = 1e-6
"The relative error that is allowed."
GOOD = 1e-7
"The uncertainty, as a share of the derivative, below which no shorter step is tried."
ROUNDINGS = 32
"How many times its last bit the loss may be off: e^z carries the rounding of z. Found on random networks."

Signs = NDArray[np.float64]


class Look(NamedTuple):
    """The loss at one value of the weight, and on which side of every kink that is: -1, 0 or 1."""

    loss: float
    sides: Signs


@dataclass(frozen=True)
class Difference:
    """A derivative by differences.

    uncertainty: how far truncation and round-off may put the value off, estimated from the steps. step: h.
    left, right: the one-sided derivatives if even the shortest step meets a kink, else None.
    """

    value: float
    uncertainty: float
    step: float
    left: float | None = None
    right: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether the loss was finite at some step."""
        return math.isfinite(self.value + self.uncertainty)

    def relative_error(self, gradient: float) -> float:
        """Return |gradient - value| over the larger of the two; 0 if both are 0."""
        larger = max(abs(gradient), abs(self.value))
        return abs(gradient - self.value) / larger if larger else 0.0

    def agrees(self, gradient: float) -> bool:
        """Return whether gradient and value are equal to a millionth, or within the uncertainty."""
        larger = max(abs(gradient), abs(self.value))
        return abs(gradient - self.value) <= TOLERANCE * larger + self.uncertainty

    def verdict(self, gradient: float) -> str:
        """Return `agrees`, `kink` if there is no derivative to agree with, or `differs`, which is a fault of ours.

        A unit's kink may not affect the loss, or may be cancelled by another's: then both sides have the same slope.
        Back-propagation takes every relu's derivative at 0 as 0, so it may still differ, which is a `kink` as well.
        """
        if self.left is not None and self.right is not None and self._jumps(self.left, self.right):
            return "kink"
        if self.agrees(gradient):
            return "agrees"
        return "differs" if self.left is None else "kink"

    def _jumps(self, left: float, right: float) -> bool:
        return abs(right - left) > TOLERANCE * max(abs(left), abs(right)) + self.uncertainty


def central_difference(look: Callable[[float], Look], at: float, *, size: float = 0.0) -> Difference:
    """Return the derivative of the loss in one number at its value.

    size: the magnitude of what moves with it, which lengthens the steps if it is larger than 1 and |at|. Of the steps
    that cross no kink, the one with the least uncertainty counts.
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
    """Return the difference by steps of h and h/2, and whether they crossed a kink or overflowed."""
    left, right, near_left, near_right = (look(at + share * h) for share in (-1, 1, -0.5, 0.5))
    far = (right.loss - left.loss) / (2 * h)
    near = (near_right.loss - near_left.loss) / h
    round_off = ROUNDINGS * sys.float_info.epsilon * max(1.0, abs(here.loss)) / h
    # three times the error that the two estimates imply for the second
    uncertainty = abs(near - far) + round_off
    if not math.isfinite(uncertainty):
        # the loss overflows at one of these steps; a shorter one may not
        return Difference(near, math.inf, h), True
    if not (np.array_equal(here.sides, left.sides) and np.array_equal(here.sides, right.sides)):
        one_sided = (here.loss - left.loss) / h, (right.loss - here.loss) / h
        return Difference(near, round_off, h, *one_sided), True
    return Difference((4 * near - far) / 3, uncertainty, h), False


def sides(parts: Sequence[tuple[Activation, Floats]], objective: Objective, error: Floats) -> Signs:
    """Return on which side of each kink every a is. parts: activations with their a. error: a - y of the output."""
    found = [_signs(a, activation.kinks) for activation, a in parts]
    return np.concatenate([np.empty(0), *found, _signs(error, objective.error_kinks)])


def _signs(values: Floats, at: tuple[float, ...]) -> Signs:
    return np.concatenate([np.empty(0), *(np.sign(values - place).ravel() for place in at)])
