"""Optimizers: one step in place on flat arrays. Their `slots` are what a checkpoint must keep."""

from typing import Protocol

import numpy as np

from worker.backprop.arrays import Floats


class Optimizer(Protocol):
    slots: dict[str, Floats]
    steps: int

    def step(self, weights: Floats, gradient: Floats, learning_rate: float) -> None:
        """w <- w - learning_rate x (what the optimizer makes of dL/dw). The gradient's array may be overwritten."""


class Sgd:
    """velocity <- momentum velocity + dL/dw; w <- w - learning_rate velocity. Source: Sutskever et al. (2013)."""

    def __init__(self, like: Floats, *, momentum: float = 0.0) -> None:
        self.momentum = momentum
        self.steps = 0
        self.slots = {"velocity": np.zeros_like(like)} if momentum else {}

    def step(self, weights: Floats, gradient: Floats, learning_rate: float) -> None:
        self.steps += 1
        update = gradient
        if self.momentum:
            velocity = self.slots["velocity"]
            velocity *= self.momentum
            velocity += gradient
            np.copyto(update, velocity)
        update *= learning_rate
        weights -= update


class Adam:
    """m and v: running means of dL/dw and its square, corrected for their start at 0.

    w <- w - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon).
    Source: Kingma and Ba (2015), algorithm 1; both corrections are folded into scalars as in its section 2.
    """

    def __init__(self, like: Floats, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.steps = 0
        self.slots = {"m": np.zeros_like(like), "v": np.zeros_like(like)}
        self._scratch = np.empty_like(like)

    def step(self, weights: Floats, gradient: Floats, learning_rate: float) -> None:
        self.steps += 1
        m, v, scratch = self.slots["m"], self.slots["v"], self._scratch
        correction1 = 1 - self.beta1**self.steps
        correction2 = float(np.sqrt(1 - self.beta2**self.steps))
        m *= self.beta1
        np.multiply(gradient, 1 - self.beta1, out=scratch)
        m += scratch
        np.multiply(gradient, gradient, out=gradient)
        gradient *= 1 - self.beta2
        v *= self.beta2
        v += gradient
        np.sqrt(v, out=scratch)
        scratch += self.epsilon * correction2
        np.divide(m, scratch, out=scratch)
        scratch *= learning_rate * correction2 / correction1
        weights -= scratch
