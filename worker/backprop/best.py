"""The best epoch so far by the monitored figure, its weights, and whether patience has run out; one for each member."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from worker.backprop.arrays import Floats, mean
from worker.backprop.parameters import Parameters
from worker.backprop.plan import Plan


class Best:
    """Remembers the best epoch. All arrays are (...), with one number for each member.

    value: the monitored figure at its best, negated if higher is better, so that lower is always better.
    over: whether patience has run out. mean: the mean over a stack's members at its best, which decides the best epoch
    of the whole. parameters: those of the best epoch, or None if they are not to be restored.
    """

    def __init__(self, plan: Plan, parameters: Parameters) -> None:
        self.patience = plan.patience
        self.value = np.full(plan.members, np.inf)
        self.epoch = np.zeros(plan.members, np.int64)
        self.over = np.zeros(plan.members, bool)
        self.mean = np.inf
        restores = plan.patience is not None and plan.patience.restore_best
        self.parameters = parameters.like() if restores else None
        if self.parameters is not None:
            self.parameters.flat[...] = parameters.flat

    def note(self, epoch: int, values: Floats, parameters: Parameters) -> bool:
        """Record an epoch's figure. Return whether the epoch is the best of the whole; NaN never is."""
        needed = self.patience.minimum_delta if self.patience else 0.0
        improved = (values < self.value - needed) & ~self.over
        if improved.any():
            self.value = np.where(improved, values, self.value)
            self.epoch = np.where(improved, epoch, self.epoch)
            if self.parameters is not None:
                self.parameters.flat[improved] = parameters.flat[improved]
        if self.patience is not None:
            self.over |= epoch - self.epoch >= self.patience.epochs
        of_all = mean(values)
        is_best = of_all < self.mean - needed
        self.mean = of_all if is_best else self.mean
        return is_best

    def state(self) -> dict[str, Any]:
        # JSON has no infinity
        values = [float(value).hex() for value in (*self.value.flat, self.mean)]
        return {"values": values, "epoch": self.epoch.ravel().tolist(), "over": self.over.ravel().tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        *values, self.mean = map(float.fromhex, state["values"])
        self.value = np.array(values, np.float64).reshape(self.value.shape)
        self.epoch = np.array(state["epoch"], np.int64).reshape(self.epoch.shape)
        self.over = np.array(state["over"], bool).reshape(self.over.shape)
