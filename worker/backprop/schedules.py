"""Learning-rate schedules: the rate of an epoch from the rate of the optimizer."""

from collections.abc import Callable

Schedule = Callable[[int], float]


def constant(learning_rate: float) -> Schedule:
    """The same rate in every epoch."""
    return lambda _epoch: learning_rate
