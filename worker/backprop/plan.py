"""What a training run is asked for, and what it yields."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from worker.backprop.arrays import Floats


@dataclass(frozen=True)
class Patience:
    """When to stop early: after `epochs` epochs without an improvement by more than `minimum_delta`."""

    epochs: int
    minimum_delta: float = 0.0
    restore_best: bool = True


@dataclass(frozen=True)
class Plan:
    """The numbers of a run.

    seeds: one for each member of a stack, else None. A member trains as a run with its seed would, except for dropout,
    whose masks are drawn for all members together.
    learning_rate, l1, l2, decay: numbers, or arrays with one number for each member. l1 and l2 add l1 |w| and
    l2/2 |w|^2 to what is minimised. decay: each step multiplies the weights by 1 - learning_rate x decay. None of the
    three acts on biases.
    clip_norm: the largest norm of a gradient. clip_value: the largest magnitude of its elements.
    accumulate: how many batches make one step. frozen: how many of the first layers keep their weights.
    monitor: the figure that decides the best epoch. figures_every: in epochs, how often each layer's figures are taken.
    """

    epochs: int
    batch_size: int
    learning_rate: float | Floats
    seed: int = 0
    seeds: tuple[int, ...] | None = None
    l1: float | Floats = 0.0
    l2: float | Floats = 0.0
    decay: float | Floats = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    accumulate: int = 1
    frozen: int = 0
    monitor: str = "validation_loss"
    higher_is_better: bool = False
    patience: Patience | None = None
    figures_every: int = 1

    @property
    def members(self) -> tuple[int, ...]:
        """The axes before all others: none, or one for the members of a stack."""
        return () if self.seeds is None else (len(self.seeds),)


class LayerFigures(NamedTuple):
    """One layer at the end of an epoch. Of a stack, each figure is the mean over its members.

    Norms are Euclidean, over all weights, biases and running figures of the layer. units: how many it has.
    gradient_norm: the last step's gradient, before clipping. update_norm: how far that step moved the weights.
    dead_units: how many units have the same output for every row; such a unit carries no information and learns little.
    A figure that a layer does not have is None.
    """

    units: int
    weight_norm: float | None
    gradient_norm: float | None
    update_norm: float | None
    dead_units: float | None


class Epoch(NamedTuple):
    """One point of the curve. Of a stack, each figure is the mean over its members.

    train_loss: the mean over the epoch's batches, each at its own step's weights, without penalties.
    metrics: `train_...` are taken like train_loss, `validation_...` with the weights after the last step.
    learning_rate: the last step's; a stack's member that is done counts as 0.
    gradient_norm: the last step's, before clipping. layers: None in epochs without figures of the layers.
    members: the monitored figure of each member of a stack.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None
    metrics: dict[str, float]
    learning_rate: float
    gradient_norm: float
    is_best: bool
    layers: list[LayerFigures] | None = None
    members: list[float] | None = None


class State(NamedTuple):
    """Everything that a run needs to continue: arrays, and values that survive JSON exactly."""

    arrays: dict[str, Floats]
    values: dict[str, Any]
