"""The step that training would take with a gradient: penalties, clipping, decay and the optimizer, line by line.

The engine combines factors to save passes over its arrays; these lines are the formulas of the papers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from worker.backprop.optimizer_base import Line, Optimizer
from worker.backprop.parameters import Parameters
from worker.backprop.plan import Plan
from worker.backprop.updates import norm
from worker.insight.address import Place
from worker.insight.passes import Passes
from worker.insight.subject import Subject
from worker.networks.training import make_optimizer, make_plan


def next_step(subject: Subject, place: Place, passes: Passes, gradient: float) -> dict[str, Any]:
    """Return the penalties, and the step that the job's own optimizer would take, as JSON values.

    gradient: dL/dw of the rows' mean loss, without penalties.
    """
    plan, w = make_plan(subject.spec.training), float(place.array(subject.parameters.views)[place.index])
    frozen = place.address.layer < subject.spec.frozen
    penalised = place.penalised and not frozen
    l1, l2 = (float(np.sign(w) * plan.l1) + 0.0, float(w * plan.l2) + 0.0) if penalised else (0.0, 0.0)
    clipped = None if plan.clip_norm is None else _gradient_norm(subject, passes.gradients(), plan)
    lines: Sequence[Line] = [Line("w", "w, since its layer is frozen", w)]
    if not frozen:
        lines = update_lines(
            _optimizer_of(subject, place),
            plan,
            subject.rate,
            w=w,
            gradient=gradient,
            penalty=l1 + l2,
            penalised=penalised,
            gradient_norm=clipped,
        )
    return {
        "penalty": {"l1": l1, "l2": l2, "gradient": l1 + l2},
        "total_gradient": gradient + l1 + l2,
        "update": {
            "optimizer": subject.spec.training.optimizer.type,
            "learning_rate": subject.rate,
            "state": {
                "of": "checkpoint" if subject.moment.kind == "checkpoint" else "zero",
                "steps": subject.optimizer_steps,
            },
            "gradient_norm": clipped,
            "lines": [line._asdict() for line in lines],
            "new_value": lines[-1].value,
        },
    }


def update_lines(
    optimizer: Optimizer,
    plan: Plan,
    rate: float,
    *,
    w: float,
    gradient: float,
    penalty: float,
    penalised: bool,
    gradient_norm: float | None,
) -> Sequence[Line]:
    """Return the lines from dL/dw to the new w, which is the last.

    optimizer: an optimizer of this weight alone.
    rate: the learning rate.
    gradient: dL/dw without penalties.
    penalty: the gradient of l1 and l2.
    penalised: whether penalties and decay act on this weight.
    gradient_norm: the norm of the whole network's gradient, with penalties and clipped by value; None if not needed.
    """
    lines = [Line("g", "dL/dw", gradient)]
    if penalised and (plan.l1 or plan.l2):
        lines.append(Line("g", "g + l1 sign(w) + l2 w", gradient + penalty))
    if plan.clip_value is not None:
        value = min(max(lines[-1].value, -plan.clip_value), plan.clip_value)
        lines.append(Line("g", "g cut at -clip_value and clip_value", value))
    if plan.clip_norm is not None and gradient_norm is not None:
        value = lines[-1].value / max(1.0, gradient_norm / plan.clip_norm)
        lines.append(Line("g", "g / max(1, |all g| / clip_norm)", value))
    g, decay = lines[-1].value, float(plan.decay)
    if decay and penalised:
        w *= 1 - rate * decay
        lines.append(Line("w", "w - learning_rate weight_decay w", w))
    return [*lines, *optimizer.lines(w, g, rate)]


def _optimizer_of(subject: Subject, place: Place) -> Optimizer:
    """Return the job's optimizer with its state for this weight alone: its slots, and how many steps it has taken."""
    optimizer = make_optimizer(subject.spec.training.optimizer)(np.zeros(1), np.zeros(1))
    optimizer.steps = subject.optimizer_steps
    for name, views in subject.slots.items():
        optimizer.slots[name][0] = place.array(views)[place.index]
    return optimizer


def _gradient_norm(subject: Subject, gradients: Parameters, plan: Plan) -> float:
    """Return the norm that clip_norm limits: that of the gradient of all trained weights, with penalties and clipped by
    value."""
    frozen = subject.spec.frozen
    gradients.flat[: gradients.size_of_first(frozen)] = 0
    each = list(zip(subject.network.layers, subject.parameters.views, gradients.views, strict=True))
    for layer, own, views in each[frozen:]:
        for name in layer.penalised:
            views[name] += plan.l2 * own[name] + plan.l1 * np.sign(own[name])
    if plan.clip_value is not None:
        np.clip(gradients.flat, -plan.clip_value, plan.clip_value, out=gradients.flat)
    return float(norm(gradients.flat))
