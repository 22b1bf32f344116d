"""The step that the job's own optimizer would make of one weight's gradient, a line at a time, in float64.

The engine folds factors into one another to save passes over its arrays; the lines are those of the papers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import NamedTuple

from worker.backprop.plan import Plan
from worker.specs import optimizers as specs


class Line(NamedTuple):
    """name <- formula = value."""

    name: str
    formula: str
    value: float


@dataclass(frozen=True)
class State:
    """What the optimizer remembers of this weight: its slots, in the engine's own scale, and how many steps it made."""

    slots: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0


class Lines:
    """Lines written so far; the last value of each name."""

    def __init__(self) -> None:
        self.written: list[Line] = []

    def write(self, name: str, formula: str, value: float) -> float:
        self.written.append(Line(name, formula, value))
        return value


def update_lines(
    optimizer: specs.Optimizer,
    plan: Plan,
    rate: float,
    *,
    w: float,
    gradient: float,
    penalty: float,
    penalised: bool,
    gradient_norm: float | None,
    state: State,
) -> Sequence[Line]:
    """From dL/dw to the new w, the last line.

    gradient: of the loss; penalty: of l1 and l2. penalised: whether decay acts on this weight. gradient_norm: of the
    whole network's gradient with penalties, cut by value, where clip_norm asks for it. rate: the learning rate.
    """
    lines = Lines()
    g = lines.write("g", "dL/dw", gradient)
    if penalised and (plan.l1 or plan.l2):
        g = lines.write("g", "g + l1 sign(w) + l2 w", g + penalty)
    if plan.clip_value is not None:
        g = lines.write("g", "g cut at -clip_value and clip_value", min(max(g, -plan.clip_value), plan.clip_value))
    if plan.clip_norm is not None and gradient_norm is not None:
        g = lines.write("g", "g / max(1, |all g| / clip_norm)", g / max(1.0, gradient_norm / plan.clip_norm))
    decay = float(plan.decay)
    if decay and penalised:
        w = lines.write("w", "w - learning_rate weight_decay w", w * (1 - rate * decay))
    for line in _rule(optimizer, g, w, rate, state):
        lines.write(*line)
    return lines.written


def _rule(optimizer: specs.Optimizer, g: float, w: float, rate: float, state: State) -> Iterator[Line]:
    match optimizer:
        case specs.Sgd():
            yield from _momentum(optimizer, g, w, rate, state)
        case specs.Adagrad():
            total = state.slots.get("sum", 0.0) + g * g
            yield Line("sum", "sum + g^2", total)
            yield Line(
                "w", "w - learning_rate g / (sqrt(sum) + epsilon)", w - rate * g / (sqrt(total) + optimizer.epsilon)
            )
        case specs.RmsProp():
            mean = optimizer.decay * state.slots.get("mean", 0.0) + (1 - optimizer.decay) * g * g
            yield Line("mean", "decay mean + (1 - decay) g^2", mean)
            yield Line(
                "w", "w - learning_rate g / (sqrt(mean) + epsilon)", w - rate * g / (sqrt(mean) + optimizer.epsilon)
            )
        case specs.Lion():
            yield from _lion(optimizer, g, w, rate, state)
        case _:
            yield from _adam(optimizer, g, w, rate, state)


def _momentum(optimizer: specs.Sgd, g: float, w: float, rate: float, state: State) -> Iterator[Line]:
    """Source: Sutskever et al. (2013); without momentum Robbins and Monro (1951): w_new = w_old - eta dL/dw."""
    if not optimizer.momentum:
        yield Line("w", "w - learning_rate g", w - rate * g)
        return
    velocity = optimizer.momentum * state.slots.get("velocity", 0.0) + g
    yield Line("velocity", "momentum velocity + g", velocity)
    if optimizer.nesterov:
        ahead = g + optimizer.momentum * velocity
        yield Line("ahead", "g + momentum velocity", ahead)
        yield Line("w", "w - learning_rate ahead", w - rate * ahead)
    else:
        yield Line("w", "w - learning_rate velocity", w - rate * velocity)


def _adam(
    optimizer: specs.Adam | specs.AdamW | specs.Nadam, g: float, w: float, rate: float, state: State
) -> Iterator[Line]:
    """Source: Kingma and Ba (2015), algorithm 1; nadam: Dozat (2016), algorithm 2."""
    beta1, beta2, t = optimizer.beta1, optimizer.beta2, state.steps + 1
    # the engine's slots are m / (1 - beta1) and v / (1 - beta2)
    m = beta1 * (1 - beta1) * state.slots.get("m", 0.0) + (1 - beta1) * g
    v = beta2 * (1 - beta2) * state.slots.get("v", 0.0) + (1 - beta2) * g * g
    yield Line("t", "t + 1", t)
    yield Line("m", "beta1 m + (1 - beta1) g", m)
    yield Line("v", "beta2 v + (1 - beta2) g^2", v)
    if isinstance(optimizer, specs.Nadam):
        m_hat = beta1 * m / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1**t)
        yield Line("m_hat", "beta1 m / (1 - beta1^(t + 1)) + (1 - beta1) g / (1 - beta1^t)", m_hat)
    else:
        m_hat = m / (1 - beta1**t)
        yield Line("m_hat", "m / (1 - beta1^t)", m_hat)
    v_hat = v / (1 - beta2**t)
    yield Line("v_hat", "v / (1 - beta2^t)", v_hat)
    w -= rate * m_hat / (sqrt(v_hat) + optimizer.epsilon)
    yield Line("w", "w - learning_rate m_hat / (sqrt(v_hat) + epsilon)", w)


def _lion(optimizer: specs.Lion, g: float, w: float, rate: float, state: State) -> Iterator[Line]:
    """Source: Chen et al. (2023), algorithm 2."""
    m = state.slots.get("m", 0.0)
    mixed = optimizer.beta1 * m + (1 - optimizer.beta1) * g
    yield Line("c", "beta1 m + (1 - beta1) g", mixed)
    yield Line("m", "beta2 m + (1 - beta2) g", optimizer.beta2 * m + (1 - optimizer.beta2) * g)
    yield Line("w", "w - learning_rate sign(c)", w - rate * ((mixed > 0) - (mixed < 0)))
