"""A gradient against the loss itself, which knows nothing of the chain rule."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from worker.backprop.arrays import Floats, Targets
from worker.errors import QuestionError
from worker.insight.address import Place
from worker.insight.difference import Difference, Look, central_difference, sides
from worker.insight.subject import Subject
from worker.insight.trace import Step, forward


def check(subject: Subject, place: Place, x: Floats, y: Targets, gradient: float) -> dict[str, Any]:
    """The finite difference of the rows' mean loss, and what it says of the gradient. Raises QuestionError."""
    difference = _difference(subject, place, x, y)
    if not (difference.is_known and math.isfinite(gradient)):
        raise QuestionError("", "the loss overflows so near to this weight's value that no difference can be told")
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
    """The derivative of the mean loss in this weight, by nothing but forward passes."""
    moved = subject.parameters.like()
    moved.flat[...] = subject.parameters.flat
    array, layers = place.array(moved.views), list(zip(subject.network.layers, moved.views, strict=True))

    def look(value: float) -> Look:
        array[place.index] = value
        steps = forward(layers, x.T)
        z = steps[-1].z
        targets = subject.objective.encode(y, len(z), np.float64)
        parts = [(step.activation, step.a) for step in _all(steps) if step.activation is not None]
        loss = float(subject.objective.losses(z, y).mean())
        return Look(loss, sides(parts, subject.objective, steps[-1].a - targets))

    return central_difference(look, float(array[place.index]))


def _all(steps: Sequence[Step]) -> list[Step]:
    """Every step, those within blocks too."""
    return [one for step in steps for one in (*_all(step.inner), step)]
