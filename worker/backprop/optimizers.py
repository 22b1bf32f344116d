"""The optimizers, each with the step that the engine takes and the formulas that display it."""

from collections.abc import Callable, Iterator
from math import sqrt
from typing import NamedTuple

import numpy as np

from worker.backprop.arrays import Floats
from worker.backprop.optimizer_base import Line, Number, Optimizer, column, scaled_by_root


class Sgd(Optimizer):
    """w <- w - learning_rate dL/dw. Source: Robbins and Monro (1951); Bishop (2006), equation 5.43."""

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        (update,) = slots_and_scratch
        np.multiply(grad_w, self._rate, update)
        np.subtract(w, update, w)

    def lines(self, w: float, g: float, learning_rate: float) -> Iterator[Line]:
        yield Line("w", "w - learning_rate g", w - learning_rate * g)


class Momentum(Optimizer):
    """velocity <- momentum velocity + dL/dw; w <- w - learning_rate velocity, as in PyTorch and Optax.

    Sutskever et al. (2013) include the rate in the velocity, which is the same if the rate is constant.
    nesterov: look ahead along the velocity: w <- w - learning_rate (dL/dw + momentum velocity).
    """

    slot_names = ("velocity",)

    def __init__(self, weights: Floats, gradient: Floats, *, momentum: Number = 0.9, nesterov: bool = False) -> None:
        super().__init__(weights, gradient)
        self.momentum, self.nesterov = self._number(momentum), nesterov

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        velocity, update = slots_and_scratch
        np.multiply(velocity, self.momentum, velocity)
        np.add(velocity, grad_w, velocity)
        if self.nesterov:
            np.multiply(velocity, self.momentum, update)
            np.add(update, grad_w, update)
            np.multiply(update, self._rate, update)
        else:
            np.multiply(velocity, self._rate, update)
        np.subtract(w, update, w)

    def lines(self, w: float, g: float, learning_rate: float) -> Iterator[Line]:
        momentum = float(self.momentum)
        velocity = momentum * self._slot("velocity") + g
        yield Line("velocity", "momentum velocity + g", velocity)
        if self.nesterov:
            ahead = g + momentum * velocity
            yield Line("ahead", "g + momentum velocity", ahead)
            yield Line("w", "w - learning_rate ahead", w - learning_rate * ahead)
        else:
            yield Line("w", "w - learning_rate velocity", w - learning_rate * velocity)


class Adagrad(Optimizer):
    """sum <- sum + (dL/dw)^2; w <- w - learning_rate dL/dw / (sqrt(sum) + epsilon). Source: Duchi et al. (2011)."""

    slot_names = ("sum",)

    def __init__(self, weights: Floats, gradient: Floats, *, epsilon: Number = 1e-10) -> None:
        super().__init__(weights, gradient)
        self.epsilon = self._number(epsilon)

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        total, update = slots_and_scratch
        np.multiply(grad_w, grad_w, update)
        np.add(total, update, total)
        scaled_by_root(grad_w, total, self.epsilon, self._rate, update)
        np.subtract(w, update, w)

    def lines(self, w: float, g: float, learning_rate: float) -> Iterator[Line]:
        total = self._slot("sum") + g * g
        yield Line("sum", "sum + g^2", total)
        w -= learning_rate * g / (sqrt(total) + float(self.epsilon))
        yield Line("w", "w - learning_rate g / (sqrt(sum) + epsilon)", w)


class RmsProp(Optimizer):
    """mean <- decay mean + (1 - decay) (dL/dw)^2; w <- w - learning_rate dL/dw / (sqrt(mean) + epsilon).

    Source: Tieleman and Hinton (2012), lecture 6.5.
    """

    slot_names = ("mean",)

    def __init__(self, weights: Floats, gradient: Floats, *, decay: Number = 0.9, epsilon: Number = 1e-8) -> None:
        super().__init__(weights, gradient)
        self.decay, self.rest = self._number(decay), self._number(1 - np.asarray(decay))
        self.epsilon = self._number(epsilon)

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        mean, update = slots_and_scratch
        np.multiply(mean, self.decay, mean)
        np.multiply(grad_w, grad_w, update)
        np.multiply(update, self.rest, update)
        np.add(mean, update, mean)
        scaled_by_root(grad_w, mean, self.epsilon, self._rate, update)
        np.subtract(w, update, w)

    def lines(self, w: float, g: float, learning_rate: float) -> Iterator[Line]:
        decay = float(self.decay)
        mean = decay * self._slot("mean") + (1 - decay) * g * g
        yield Line("mean", "decay mean + (1 - decay) g^2", mean)
        w -= learning_rate * g / (sqrt(mean) + float(self.epsilon))
        yield Line("w", "w - learning_rate g / (sqrt(mean) + epsilon)", w)


class Adam(Optimizer):
    """m and v: running means of dL/dw and its square, corrected for their start at 0.

    w <- w - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon).
    Source: Kingma and Ba (2015), algorithm 1. The slots are m / (1 - beta1) and v / (1 - beta2), which saves two of
    twelve passes, and all corrections are folded into two numbers for each step, as in section 2 of the paper.
    """

    slot_names = ("m", "v")

    def __init__(
        self,
        weights: Floats,
        gradient: Floats,
        *,
        beta1: Number = 0.9,
        beta2: Number = 0.999,
        epsilon: Number = 1e-8,
    ) -> None:
        super().__init__(weights, gradient)
        self._exact = tuple(column(number) for number in (beta1, beta2, epsilon))
        self.beta1, self.beta2 = self._number(beta1), self._number(beta2)
        self.epsilon = self._number(0.0, weights.shape[:-1])

    def _prepare(self, learning_rate: Number) -> None:
        beta1, beta2, epsilon = self._exact
        # sqrt(v / (1 - beta2^t)) = sqrt(slot) / root
        root = ((1 - beta2**self.steps) / (1 - beta2)) ** 0.5
        self.epsilon[...] = epsilon * root
        self._rate[...] = learning_rate * root * (1 - beta1) / (1 - beta1**self.steps)

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        m, v, update = slots_and_scratch
        np.multiply(m, self.beta1, m)
        np.add(m, grad_w, m)
        np.multiply(v, self.beta2, v)
        np.multiply(grad_w, grad_w, update)
        np.add(v, update, v)
        scaled_by_root(m, v, self.epsilon, self._rate, update)
        np.subtract(w, update, w)

    def lines(self, w: float, g: float, learning_rate: float) -> Iterator[Line]:
        (beta1, beta2, epsilon), t = map(float, self._exact), self.steps + 1
        # the slots are m / (1 - beta1) and v / (1 - beta2)
        m = beta1 * (1 - beta1) * self._slot("m") + (1 - beta1) * g
        v = beta2 * (1 - beta2) * self._slot("v") + (1 - beta2) * g * g
        yield Line("t", "t + 1", t)
        yield Line("m", "beta1 m + (1 - beta1) g", m)
        yield Line("v", "beta2 v + (1 - beta2) g^2", v)
        m_hat = self._m_hat(m, g, beta1, t)
        yield m_hat
        v_hat = v / (1 - beta2**t)
        yield Line("v_hat", "v / (1 - beta2^t)", v_hat)
        w -= learning_rate * m_hat.value / (sqrt(v_hat) + epsilon)
        yield Line("w", "w - learning_rate m_hat / (sqrt(v_hat) + epsilon)", w)

    def _m_hat(self, m: float, g: float, beta1: float, t: int) -> Line:
        return Line("m_hat", "m / (1 - beta1^t)", m / (1 - beta1**t))


class Nadam(Adam):
    """Adam with Nesterov's look ahead: m is replaced by its own next value.

    beta1 m / (1 - beta1^(t+1)) + (1 - beta1) dL/dw / (1 - beta1^t) replaces Adam's m / (1 - beta1^t).
    Source: Dozat (2016), algorithm 2, with a constant momentum.
    """

    def __init__(self, weights: Floats, gradient: Floats, **numbers: Number) -> None:
        super().__init__(weights, gradient, **numbers)
        self.of_m = self._number(0.0, weights.shape[:-1])

    def _prepare(self, learning_rate: Number) -> None:
        super()._prepare(learning_rate)
        beta1, t = self._exact[0], self.steps
        # Adam's rate includes the factor of dL/dw; this is the factor of m relative to it
        self.of_m[...] = beta1 * (1 - beta1**t) / (1 - beta1 ** (t + 1))

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        m, v, update = slots_and_scratch
        np.multiply(v, self.beta2, v)
        np.multiply(grad_w, grad_w, update)
        np.add(v, update, v)
        np.multiply(m, self.beta1, m)
        np.add(m, grad_w, m)
        # the gradient has been read, so its array is free
        np.multiply(m, self.of_m, update)
        np.add(grad_w, update, grad_w)
        scaled_by_root(grad_w, v, self.epsilon, self._rate, update)
        np.subtract(w, update, w)

    def _m_hat(self, m: float, g: float, beta1: float, t: int) -> Line:
        value = beta1 * m / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1**t)
        return Line("m_hat", "beta1 m / (1 - beta1^(t + 1)) + (1 - beta1) g / (1 - beta1^t)", value)


class Lion(Optimizer):
    """w <- w - learning_rate sign(beta1 m + (1 - beta1) dL/dw); m <- beta2 m + (1 - beta2) dL/dw.

    Source: Chen et al. (2023), algorithm 2.
    """

    slot_names = ("m",)

    def __init__(self, weights: Floats, gradient: Floats, *, beta1: Number = 0.9, beta2: Number = 0.99) -> None:
        super().__init__(weights, gradient)
        self.beta1, self.rest1 = self._number(beta1), self._number(1 - np.asarray(beta1))
        self.beta2, self.rest2 = self._number(beta2), self._number(1 - np.asarray(beta2))

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        m, update = slots_and_scratch
        np.multiply(grad_w, self.rest1, update)
        update += self.beta1 * m
        np.sign(update, update)
        np.multiply(update, self._rate, update)
        np.subtract(w, update, w)
        np.multiply(m, self.beta2, m)
        np.multiply(grad_w, self.rest2, update)
        np.add(m, update, m)

    def lines(self, w: float, g: float, learning_rate: float) -> Iterator[Line]:
        beta1, beta2, m = float(self.beta1), float(self.beta2), self._slot("m")
        mixed = beta1 * m + (1 - beta1) * g
        yield Line("c", "beta1 m + (1 - beta1) g", mixed)
        yield Line("m", "beta2 m + (1 - beta2) g", beta2 * m + (1 - beta2) * g)
        yield Line("w", "w - learning_rate sign(c)", w - learning_rate * ((mixed > 0) - (mixed < 0)))


class OptimizerKind(NamedTuple):
    """An optimizer as a specification names it.

    make: builds it from flat weights and their gradient, with the parameters of the specification as keywords.
    slot_names: the arrays that it keeps, each as large as the weights.
    """

    make: Callable[..., Optimizer]
    slot_names: tuple[str, ...]


def _sgd(weights: Floats, gradient: Floats, *, momentum: float, nesterov: bool) -> Optimizer:
    """Build plain descent, which has no slot, or descent with momentum if that is not 0."""
    return Momentum(weights, gradient, momentum=momentum, nesterov=nesterov) if momentum else Sgd(weights, gradient)


OPTIMIZERS: dict[str, OptimizerKind] = {
    "sgd": OptimizerKind(_sgd, Momentum.slot_names),
    "adagrad": OptimizerKind(Adagrad, Adagrad.slot_names),
    "rmsprop": OptimizerKind(RmsProp, RmsProp.slot_names),
    "adam": OptimizerKind(Adam, Adam.slot_names),
    # weight decay is the plan's, and decoupled for every optimizer
    "adamw": OptimizerKind(Adam, Adam.slot_names),
    "nadam": OptimizerKind(Nadam, Nadam.slot_names),
    "lion": OptimizerKind(Lion, Lion.slot_names),
}
