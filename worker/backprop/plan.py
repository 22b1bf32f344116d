"""What a run is asked for, and what it yields."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from worker.backprop.arrays import Floats


@dataclass(frozen=True)
class Patience:
    """When to give up: after `epochs` epochs that did not improve by more than `minimum_delta`."""

    epochs: int
    minimum_delta: float = 0.0
    restore_best: bool = True


@dataclass(frozen=True)
class Plan:
    """The numbers of a run.

    seeds: of a stack, one a member, each of which trains as a run of its own seed would, but for dropout, whose masks
    are drawn for all members together; else None.
    learning_rate, l1, l2 and decay may be arrays, one number a member. l1 and l2 add l1 |w| and l2/2 |w|^2 to what is
    minimised; decay takes the share learning_rate x decay from the weights at each step; none of them touches biases.
    clip_norm bounds the gradient's length, clip_value each of its elements. accumulate: batches to one step. frozen: so
    many of the first layers keep their weights. monitor: the figure that tells the best epoch. figures_every: epochs
    between those with figures of each layer.
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
        """The axes before all others: none, or the members of a stack."""
        return () if self.seeds is None else (len(self.seeds),)


class LayerFigures(NamedTuple):
    """Of one layer at the end of an epoch. Norms are Euclidean, over all its weights and biases, and batch_norm's
    running figures among them.

    units: how many. gradient_norm: of the last step, before clipping; update_norm: what that step moved. dead_units:
    how many give the same for every row; such a unit tells nothing and learns little. None where a layer has no such
    figure; of a stack the mean over its members.
    """

    units: int
    weight_norm: float | None
    gradient_norm: float | None
    update_norm: float | None
    dead_units: float | None


class Epoch(NamedTuple):
    """One point of the curve. train_loss: mean over the epoch's batches, as they were met, without penalties.

    metrics: `train_...` as they were met likewise, `validation_...` with the weights after the last step.
    learning_rate, gradient_norm: of the epoch's last step, the norm before clipping. layers: in some epochs. Of a
    stack, each figure is the mean over the members, the rate of a member that is done being 0, and `members` has the
    monitored figure of each.
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
    """Everything that a run needs to go on: arrays, and values that JSON keeps exactly."""

    arrays: dict[str, Floats]
    values: dict[str, Any]
