"""What training would do with a gradient: penalties, clipping, and the optimizer's step."""

from typing import Any

import numpy as np

from worker.backprop.updates import norm
from worker.insight.address import Place
from worker.insight.gradients import write_gradients
from worker.insight.passes import Passes
from worker.insight.subject import Subject
from worker.insight.update import Line, State, update_lines
from worker.networks.training import make_plan


def next_step(subject: Subject, place: Place, passes: Passes, gradient: float) -> dict[str, Any]:
    """Penalties, and the step that the optimizer would make."""
    plan, w = make_plan(subject.spec.training), float(place.array(subject.parameters.views)[place.index])
    frozen = place.address.layer < subject.spec.frozen
    penalised = place.penalised and not frozen
    l1, l2 = (float(np.sign(w) * plan.l1) + 0.0, float(w * plan.l2) + 0.0) if penalised else (0.0, 0.0)
    clipped = None if plan.clip_norm is None else _gradient_norm(subject, passes)
    state = State(
        {name: float(place.array(views)[place.index]) for name, views in subject.slots.items()},
        subject.optimizer_steps,
    )
    lines = (
        [Line("w", "w, since its layer is frozen", w)]
        if frozen
        else update_lines(
            subject.spec.training.optimizer,
            plan,
            subject.rate,
            w=w,
            gradient=gradient,
            penalty=l1 + l2,
            penalised=penalised,
            gradient_norm=clipped,
            state=state,
        )
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


def _gradient_norm(subject: Subject, passes: Passes) -> float:
    """Of the gradient of all that is trained, with penalties, cut by value: what clip_norm compares."""
    plan, gradients = make_plan(subject.spec.training), subject.parameters.like()
    frozen = subject.spec.frozen
    write_gradients(passes.steps, gradients)
    gradients.flat[: gradients.size_of_first(frozen)] = 0
    for own, views in zip(subject.parameters.views[frozen:], gradients.views[frozen:], strict=True):
        for name in views:
            if name.rpartition(".")[2] == "w":
                views[name] += plan.l2 * own[name] + plan.l1 * np.sign(own[name])
    if plan.clip_value is not None:
        np.clip(gradients.flat, -plan.clip_value, plan.clip_value, out=gradients.flat)
    return float(norm(gradients.flat))
