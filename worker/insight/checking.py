"""Checks one weight's gradient against the loss itself, with forward passes that use no chain rule."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from worker.backprop.arrays import Floats, Targets
from worker.backprop.layers.layer import Step, forward
from worker.errors import QuestionError
from worker.insight.address import Place
from worker.insight.difference import Difference, LossAt, central_difference, sides
from worker.insight.subject import Subject


def check(subject: Subject, place: Place, x: Floats, y: Targets, gradient: float) -> dict[str, Any]:
    """Return the finite difference of the rows' mean loss in one weight, and whether it agrees with the gradient.

    x: (rows, inputs), encoded.
    y: the targets as the objective takes them: labels (rows,), or numbers (rows, outputs).
    gradient: dL/dw of the mean loss. It and the difference are in units of the loss per unit of the weight.
    Raises QuestionError if the loss is not finite next to this weight's value.
    """
    difference = _difference(subject, place, x, y)
    if not (difference.is_known and math.isfinite(gradient)):
        raise QuestionError("", "the loss overflows so near to this weight's value that no difference can be computed")
    verdict = difference.verdict(gradient)
    return {
        "finite_difference": difference.value,
        "relative_error": difference.relative_error(gradient),
        "uncertainty": difference.uncertainty,
        "step": difference.step,
        "agrees": difference.agrees(gradient),
        "kink": verdict == "kink",
        "verdict": verdict,
        "left": difference.left,
        "right": difference.right,
    }


@np.errstate(all="ignore")
def _difference(subject: Subject, place: Place, x: Floats, y: Targets) -> Difference:
    """Return the derivative of the mean loss in this weight."""
    moved = subject.parameters.like()
    moved.flat[...] = subject.parameters.flat
    array, layers = place.array(moved.views), list(zip(subject.network.layers, moved.views, strict=True))

    def loss_at(value: float) -> LossAt:
        array[place.index] = value
        steps = forward(layers, x.T)
        z = steps[-1].z
        error = steps[-1].a - subject.objective.encode(y, len(z), np.float64)
        each = [(step.layer.activation, step.a) for step in _all(steps)]
        parts = [(activation, a) for activation, a in each if activation is not None]
        return LossAt(float(subject.objective.losses(z, y).mean()), sides(parts, subject.objective, error))

    return central_difference(loss_at, float(array[place.index]))


def _all(steps: Sequence[Step]) -> list[Step]:
    """Return every step, including those within blocks."""
    return [one for step in steps for one in (*_all(step.inner), step)]
