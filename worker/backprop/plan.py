"""The input and output of a training run: its plan, the epochs that it yields, and the state to resume it from."""

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
    """The settings of a run.

    learning_rate, l1, l2, decay: numbers, or arrays with one number for each member of a stack.
    seed: the seed of a single network, and of a stack's dropout.
    seeds: one seed for each member of a stack; None for a single network. A member trains exactly as a run with its
        seed would, except for dropout, whose masks are drawn for all members together.
    l1, l2: add l1 |w| and l2/2 |w|^2 to the loss. They do not act on biases.
    decay: each step multiplies the weights, but not the biases, by 1 - learning_rate x decay.
    clip_norm: the largest norm that a gradient may have.
    clip_value: the largest magnitude that an element of a gradient may have.
    accumulate: how many batches make one step.
    frozen: how many of the first layers keep their weights.
    monitor: the name of the figure that decides the best epoch.
    patience: when to stop early; None for never.
    figures_every: the figures of each layer are taken once in this many epochs.
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
    """One layer at the end of an epoch. For a stack, each figure is the mean over its members.

    Norms are Euclidean, over all weights, biases and running figures of the layer. A figure that a layer does not have
    is None.
    units: how many units it has.
    weight_norm: the norm of its weights.
    gradient_norm: the norm of the last step's gradient, before clipping.
    update_norm: how far that step moved the weights.
    dead_units: how many units have the same output for every row; such a unit carries no information and learns little.
    """

    units: int
    weight_norm: float | None
    gradient_norm: float | None
    update_norm: float | None
    dead_units: float | None


class Epoch(NamedTuple):
    """One epoch as the engine yields it. For a stack, each figure is the mean over its members.

    `records.points.Point` is the same as it is recorded; a test holds their fields equal.
    epoch: its number, from 1.
    train_loss: the mean over the epoch's batches, each with the weights of its own step, without penalties.
    validation_loss: with the weights after the last step; None without a validation part.
    metrics: `train_...` are taken like train_loss, `validation_...` like validation_loss.
    learning_rate: the last step's; a member of a stack that has stopped counts as 0.
    gradient_norm: the last step's, before clipping.
    is_best: whether the monitored figure is the best so far.
    layers: the figures of each layer; None in epochs in which they are not taken.
    members: the monitored figure of each member of a stack; None for a single network.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None
    metrics: dict[str, float]
    learning_rate: float
    gradient_norm: float
    is_best: bool
    layers: list[LayerFigures] | None
    members: list[float] | None


class State(NamedTuple):
    """Everything that a run needs to resume: arrays, and values that JSON stores exactly."""

    arrays: dict[str, Floats]
    values: dict[str, Any]
