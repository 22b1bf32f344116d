"""Learning-rate schedules: the factor by which each step multiplies the optimizer's learning rate.

The factor depends on the step's position in the run. A plateau also depends on the figures of the run.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from worker.backprop.arrays import Floats

Factor = float | Floats


class Schedule:
    """The constant schedule, and the base of the others."""

    def factors(self, epoch: int, steps: int) -> list[Factor]:
        """Return the factor of each step of an epoch: a number, or one for each member. epoch: counted from 0."""
        return [1.0] * steps

    def observe(self, values: Floats) -> None:
        """Record the monitored figure of an epoch, negated if higher is better: a number, or one for each member."""

    def state(self) -> dict[str, Any]:
        """Return what `factors` depends on besides its arguments, as JSON values."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state` returned."""


class StepDecay(Schedule):
    """Multiplies the rate by `factor` once in `every` epochs."""

    def __init__(self, every: int, factor: float) -> None:
        self.every, self.factor = every, factor

    def factors(self, epoch: int, steps: int) -> list[Factor]:
        return [self.factor ** (epoch // self.every)] * steps


class ExponentialDecay(StepDecay):
    """Multiplies the rate by `factor` every epoch."""

    def __init__(self, factor: float) -> None:
        super().__init__(1, factor)


class Cosine(Schedule):
    """Rises from `start` in a straight line over the warm-up, then falls along half a cosine towards `end`.

    The step after the last would have the factor `end`.
    epochs, warmup: the length of the run and of the warm-up, in epochs.
    start, end: factors of the optimizer's rate.
    Source: Loshchilov and Hutter (2017), equation 5; the warm-up: Goyal et al. (2017), section 2.2.
    """

    def __init__(self, epochs: int, *, warmup: int = 0, start: float = 0.01, end: float = 0.0) -> None:
        self.epochs, self.warmup, self.start, self.end = epochs, warmup, start, end

    def factors(self, epoch: int, steps: int) -> list[Factor]:
        return [self._factor(epoch * steps + n, self.warmup * steps, self.epochs * steps) for n in range(steps)]

    def _factor(self, step: int, warmup: int, total: int) -> float:
        if step < warmup:
            return self.start + (1 - self.start) * step / warmup
        return _between(1.0, self.end, (step - warmup) / max(1, total - warmup))


class OneCycle(Schedule):
    """Rises along half a cosine from 1 / divide over the share `rise` of all steps, then falls along half a cosine.

    The optimizer's rate is the peak, and 1 / (divide x final_divide) the end. Momentum does not change.

    Source: Smith and Topin (2018), with cosines instead of lines.
    """

    def __init__(self, epochs: int, *, rise: float = 0.3, divide: float = 25.0, final_divide: float = 1e4) -> None:
        self.epochs, self.rise = epochs, rise
        self.first, self.last = 1 / divide, 1 / (divide * final_divide)

    def factors(self, epoch: int, steps: int) -> list[Factor]:
        total = self.epochs * steps
        peak = int(self.rise * total)
        return [self._factor(epoch * steps + n, peak, total) for n in range(steps)]

    def _factor(self, step: int, peak: int, total: int) -> float:
        if step < peak:
            return _between(self.first, 1.0, step / peak)
        return _between(1.0, self.last, (step - peak) / (total - peak))


class Plateau(Schedule):
    """Multiplies the rate by `factor` when the monitored figure has not improved for more than `patience` epochs.

    A change counts as an improvement if it is larger than the share `threshold` of the best value.
    floor: the smallest factor.
    """

    def __init__(self, factor: float, patience: int, *, threshold: float = 1e-4, floor: float = 0.0) -> None:
        self.factor, self.patience, self.threshold, self.floor = factor, patience, threshold, floor
        self.current: Floats = np.asarray(1.0)
        self.best: Floats = np.asarray(math.inf)
        self.waited: Floats = np.asarray(0)

    def factors(self, epoch: int, steps: int) -> list[Factor]:
        return [self.current if self.current.ndim else float(self.current)] * steps

    def observe(self, values: Floats) -> None:
        needed = np.where(np.isfinite(self.best), np.abs(self.best), 0) * self.threshold
        improved = values < self.best - needed
        self.best = np.where(improved, values, self.best)
        self.waited = np.where(improved, 0, self.waited + 1)
        falls = self.waited > self.patience
        self.current = np.where(falls, np.maximum(self.current * self.factor, self.floor), self.current)
        self.waited = np.where(falls, 0, self.waited)

    def state(self) -> dict[str, Any]:
        # JSON has no infinity; float.hex writes it, and every number exactly
        best = [float(value).hex() for value in self.best.flat]
        return {"current": self.current.tolist(), "best": best, "waited": self.waited.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.current = np.asarray(state["current"], np.float64)
        self.best = np.array([float.fromhex(text) for text in state["best"]]).reshape(self.current.shape)
        self.waited = np.asarray(state["waited"])


def _between(first: float, last: float, share: float) -> float:
    """Return the value at a share of the way along half a cosine, from the first value to the last."""
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
