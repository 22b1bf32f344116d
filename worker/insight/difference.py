"""The derivative by central finite differences in float64, against which back-propagation is checked.

D(h) = (L(w + h) - L(w - h)) / 2h has a truncation error of about h^2 L'''/6, and a round-off error of about
epsilon L / h. Richardson's (4 D(h/2) - D(h)) / 3 cancels the truncation error. Source: Press et al. (2007), Numerical
Recipes, section 5.7.

At a kink of the loss, for example where a relu has z = 0, the derivative does not exist, and the difference depends on
the step. So each evaluation of the loss also says on which side of every kink it was. If a step crosses a kink, a
shorter one is tried. If even the shortest step crosses it, w is at the kink itself.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.backprop.activation_base import Activation
from worker.backprop.arrays import Floats
from worker.backprop.losses.objective import Objective

STEPS = (1e-4, 1e-5, 1e-6, 1e-7)
"The steps that are tried, from long to short, as shares of the larger of 1 and |w|."
TOLERANCE = 1e-6
"The relative error that is allowed."
GOOD = 1e-7
"The uncertainty, as a share of the derivative, below which no shorter step is tried."
ROUNDINGS = 32
"""The round-off error of the loss that is assumed, in units of its last bit. It is more than 1 since e^z carries the
rounding of z. The number was found on random networks."""

Signs = NDArray[np.float64]


class LossAt(NamedTuple):
    """The loss at one value of the weight, and the side of every kink that this value is on: -1, 0 or 1."""

    loss: float
    sides: Signs


@dataclass(frozen=True)
class Difference:
    """A derivative by finite differences.

    uncertainty: the estimated error of the value from truncation and round-off.
    step: h, the step that was used.
    left, right: the one-sided derivatives if even the shortest step crosses a kink; otherwise None.
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
        """Return whether the gradient equals the value to within a millionth of it or the uncertainty.

        This compares numbers only. `verdict` also considers kinks.
        """
        larger = max(abs(gradient), abs(self.value))
        return abs(gradient - self.value) <= TOLERANCE * larger + self.uncertainty

    def verdict(self, gradient: float) -> str:
        """Return `agrees`, `kink` or `differs`.

        `kink`: the loss has no derivative at this weight, so there is nothing to agree with. `differs`: the gradient is
        wrong, which is a fault of ours.
        A unit's kink may not affect the loss, or may be cancelled by another's: then both sides have the same slope.
        The gradient may still differ there, since back-propagation takes every relu's derivative at 0 as 0. That is a
        `kink` as well.
        """
        if self.left is not None and self.right is not None and self._jumps(self.left, self.right):
            return "kink"
        if self.agrees(gradient):
            return "agrees"
        return "differs" if self.left is None else "kink"

    def _jumps(self, left: float, right: float) -> bool:
        return abs(right - left) > TOLERANCE * max(abs(left), abs(right)) + self.uncertainty


def central_difference(loss_at: Callable[[float], LossAt], at: float, *, size: float = 0.0) -> Difference:
    """Return the derivative of the loss in one number, from the step with the least uncertainty that crosses no kink.

    loss_at: returns the loss, and the sides of the kinks, at a value of the number.
    at: the value of the number.
    size: the largest magnitude among the weights that move with the number. Steps are lengthened in proportion to it if
        it is larger than 1 and |at|.
    """
    here, found = loss_at(at), []
    for step in STEPS:
        one, crossed = _by_step(loss_at, at, here, step * max(1.0, abs(at), size))
        if crossed and step != STEPS[-1]:
            continue
        found.append(one)
        if one.uncertainty <= GOOD * abs(one.value):
            break
    return min(found, key=lambda one: (one.left is not None, one.uncertainty))


def _by_step(loss_at: Callable[[float], LossAt], at: float, here: LossAt, h: float) -> tuple[Difference, bool]:
    """Return the difference from steps of h and h/2, and whether they crossed a kink or overflowed."""
    left, right, near_left, near_right = (loss_at(at + share * h) for share in (-1, 1, -0.5, 0.5))
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
    """Return the side of each kink that every a is on.

    parts: activations with their a.
    error: a - y of the output layer.
    """
    found = [_signs(a, activation.kinks) for activation, a in parts]
    return np.concatenate([np.empty(0), *found, _signs(error, objective.error_kinks)])


def _signs(values: Floats, at: tuple[float, ...]) -> Signs:
    return np.concatenate([np.empty(0), *(np.sign(values - place).ravel() for place in at)])
