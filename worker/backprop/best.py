"""The best epoch so far by the monitored figure, its weights, and whether patience has run out; one for each member."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from worker.backprop.arrays import Floats, mean
from worker.backprop.parameters import Parameters
from worker.backprop.plan import Plan


class Best:
    """Remembers the best epoch. Every array has one number for each member of a stack, or no axes for one network.

    value: the best monitored figure so far, negated if higher is better, so that lower is always better.
    epoch: the epoch of that figure.
    stopped: whether patience has run out.
    mean: the best mean over the members so far; it decides which epoch is best for the stack as a whole.
    parameters: the weights of the best epoch, or None if they are not to be restored.
    """

    def __init__(self, plan: Plan, parameters: Parameters) -> None:
        self.patience = plan.patience
        self.value = np.full(plan.members, np.inf)
        self.epoch = np.zeros(plan.members, np.int64)
        self.stopped = np.zeros(plan.members, bool)
        self.mean = np.inf
        restores = plan.patience is not None and plan.patience.restore_best
        self.parameters = parameters.like() if restores else None
        if self.parameters is not None:
            self.parameters.flat[...] = parameters.flat

    def observe(self, epoch: int, values: Floats, parameters: Parameters) -> bool:
        """Record an epoch's figures. Return whether this epoch has the best mean so far; one with NaN never has."""
        needed = self.patience.minimum_delta if self.patience else 0.0
        improved = (values < self.value - needed) & ~self.stopped
        if improved.any():
            self.value = np.where(improved, values, self.value)
            self.epoch = np.where(improved, epoch, self.epoch)
            if self.parameters is not None:
                self.parameters.flat[improved] = parameters.flat[improved]
        if self.patience is not None:
            self.stopped |= epoch - self.epoch >= self.patience.epochs
        of_all = mean(values)
        is_best = of_all < self.mean - needed
        self.mean = of_all if is_best else self.mean
        return is_best

    def state(self) -> dict[str, Any]:
        # JSON has no infinity
        values = [float(value).hex() for value in (*self.value.flat, self.mean)]
        return {"values": values, "epoch": self.epoch.ravel().tolist(), "over": self.stopped.ravel().tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        *values, self.mean = map(float.fromhex, state["values"])
        self.value = np.array(values, np.float64).reshape(self.value.shape)
        self.epoch = np.array(state["epoch"], np.int64).reshape(self.epoch.shape)
        self.stopped = np.array(state["over"], bool).reshape(self.stopped.shape)
