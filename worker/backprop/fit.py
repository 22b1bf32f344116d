"""A training run that yields one Epoch at a time, can be stopped at any step, and resumes to the bit."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from worker.backprop.arrays import Floats, Integers
from worker.backprop.losses import Objective
from worker.backprop.metrics import Metric
from worker.backprop.network import Network, TrainingPass
from worker.backprop.optimizers import Optimizer
from worker.backprop.parameters import Parameters
from worker.backprop.schedules import Schedule
from worker.errors import DivergedError

# what a generator is for; each (seed, epoch, purpose) has one of its own, so no order of use can disturb another
INITIAL_WEIGHTS, SHUFFLE, DROPOUT = range(3)

# rows of a forward pass outside training: enough for the product to run at full speed, few enough to stay small
EVALUATION_ROWS = 4096


class Part(NamedTuple):
    """Rows of the table: x (rows, inputs); y labels (rows,) or targets (rows, outputs)."""

    x: Floats
    y: Floats | Integers


@dataclass(frozen=True)
class Patience:
    """When to give up: after `epochs` epochs that did not improve by more than `minimum_delta`."""

    epochs: int
    minimum_delta: float = 0.0
    restore_best: bool = True


@dataclass(frozen=True)
class Plan:
    """The numbers of a run. l2 adds l2/2 |w|^2 to what is minimised; clip_norm bounds the gradient's length."""

    epochs: int
    batch_size: int
    seed: int = 0
    l2: float = 0.0
    clip_norm: float | None = None
    monitor: str = "validation_loss"
    patience: Patience | None = None


class Epoch(NamedTuple):
    """One point of the curve. train_loss: mean over the epoch's batches, as they were met, without the penalty.

    gradient_norm: Euclidean, of the epoch's last step, before clipping.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None
    metrics: dict[str, float]
    learning_rate: float
    gradient_norm: float
    is_best: bool


class State(NamedTuple):
    """Everything that a run needs to go on: arrays, and values that JSON keeps exactly."""

    arrays: dict[str, Floats]
    values: dict[str, Any]


class Training:
    """One run. `run` may be called again after it stopped; `state` and `restore` move it to another process."""

    def __init__(
        self,
        network: Network,
        objective: Objective,
        optimizer: Callable[[Floats], Optimizer],
        schedule: Schedule,
        plan: Plan,
        *,
        train: Part,
        validation: Part | None = None,
        metrics: dict[str, Metric],
    ) -> None:
        self.network, self.objective, self.schedule, self.plan = network, objective, schedule, plan
        self.train, self.validation, self.metrics = train, validation, metrics
        self.parameters = network.parameters(train.x.dtype)
        network.initialize(self.parameters, (plan.seed, INITIAL_WEIGHTS))
        self.gradients = self.parameters.like()
        self.optimizer = optimizer(self.parameters.flat)
        self.best = self.parameters.like()
        self.best.flat[...] = self.parameters.flat
        self.epoch = 0
        self.best_epoch = 0
        self.best_value = math.inf
        self._step = 0
        self._loss_sum = 0.0
        self._dropout_state: dict[str, Any] | None = None
        self._passes: dict[int, TrainingPass] = {}
        self._penalised = _weights_only(self.parameters)

    @property
    def finished(self) -> bool:
        """No epoch is left, or patience has run out."""
        waited = self.epoch - self.best_epoch
        patience = self.plan.patience
        return self.epoch >= self.plan.epochs or (patience is not None and self.epoch > 0 and waited >= patience.epochs)

    @property
    def final(self) -> Parameters:
        """The parameters to keep: the best epoch's where asked for, else the last's."""
        return self.best if self._restores_best else self.parameters

    @property
    def final_epoch(self) -> int:
        """The epoch whose parameters `final` has."""
        return self.best_epoch if self._restores_best else self.epoch

    @property
    def _restores_best(self) -> bool:
        return self.plan.patience is not None and self.plan.patience.restore_best

    def run(self, should_stop: Callable[[], bool]) -> Iterator[Epoch]:
        """Yield epochs until finished. `should_stop` is asked after each step; on True the run returns at once.

        Raises DivergedError when an epoch's training or measured loss is not finite.
        """
        while not self.finished:
            if not self._train_epoch(should_stop):
                return
            yield self._end_epoch()

    def _train_epoch(self, should_stop: Callable[[], bool]) -> bool:
        rows = len(self.train.x)
        batch_size = min(self.plan.batch_size, rows)
        order = self._generator(SHUFFLE).permutation(rows)
        x, y = self.train.x[order], self.train.y[order]
        dropout = self._generator(DROPOUT)
        if self._dropout_state is not None:
            dropout.bit_generator.state = self._dropout_state
        learning_rate = self.schedule(self.epoch + 1)
        for start in range(self._step * batch_size, rows, batch_size):
            batch = slice(start, start + batch_size)
            self._loss_sum += self._train_step(x[batch], y[batch], dropout, learning_rate)
            self._step += 1
            if should_stop() and start + batch_size < rows:
                self._dropout_state = dict(dropout.bit_generator.state)
                return False
        return True

    def _train_step(self, x: Floats, y: Floats | Integers, dropout: np.random.Generator, learning_rate: float) -> float:
        rows = len(x)
        if rows not in self._passes:
            self._passes[rows] = TrainingPass(self.network, self.objective, self.parameters, self.gradients, rows)
        loss = self._passes[rows](x, y, dropout)
        gradient = self.gradients.flat
        if self.plan.l2:
            gradient += self.plan.l2 * self._penalised * self.parameters.flat
        self.gradient_norm = math.sqrt(float(np.dot(gradient, gradient)))
        if self.plan.clip_norm is not None and self.gradient_norm > self.plan.clip_norm:
            gradient *= self.plan.clip_norm / self.gradient_norm
        self.optimizer.step(self.parameters.flat, gradient, learning_rate)
        return loss * rows

    def _end_epoch(self) -> Epoch:
        self.epoch += 1
        train_loss = self._loss_sum / len(self.train.x)
        self._step, self._loss_sum, self._dropout_state = 0, 0.0, None
        if not math.isfinite(train_loss):
            raise DivergedError(self.epoch)
        # measured with the weights after the last step, which the training loss has not seen yet
        part, name = (self.train, "train") if self.validation is None else (self.validation, "validation")
        measured_loss, metrics = self.evaluate(self.parameters, part)
        if not math.isfinite(measured_loss):
            raise DivergedError(self.epoch)
        validation_loss = None if self.validation is None else measured_loss
        figures = {f"{name}_{metric}": value for metric, value in metrics.items()}
        monitored = validation_loss if self.plan.monitor == "validation_loss" else train_loss
        is_best = self._note_best(train_loss if monitored is None else monitored)
        return Epoch(
            self.epoch,
            train_loss,
            validation_loss,
            figures,
            self.schedule(self.epoch),
            self.gradient_norm,
            is_best,
        )

    def _note_best(self, value: float) -> bool:
        needed = self.plan.patience.minimum_delta if self.plan.patience else 0.0
        if not value < self.best_value - needed:
            return False
        self.best_value, self.best_epoch = value, self.epoch
        self.best.flat[...] = self.parameters.flat
        return True

    def evaluate(self, parameters: Parameters, part: Part) -> tuple[float, dict[str, float]]:
        """The mean loss and the metrics of these parameters on a part, in inference mode."""
        starts = range(0, len(part.x), EVALUATION_ROWS)
        z = np.concatenate([self.network.last_z(parameters, part.x[n : n + EVALUATION_ROWS]) for n in starts])
        loss = self.objective.value(z, part.y)
        outputs = self.objective.activation.value(z, out=z)
        return loss, {name: metric(outputs, part.y) for name, metric in self.metrics.items()}

    def _generator(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng((self.plan.seed, purpose, self.epoch))

    def state(self) -> State:
        """A copy of all that the next step depends on."""
        arrays = {"parameters": self.parameters.flat.copy(), "best": self.best.flat.copy()}
        arrays |= {f"optimizer.{name}": slot.copy() for name, slot in self.optimizer.slots.items()}
        values = {
            "epoch": self.epoch,
            "step": self._step,
            "loss_sum": self._loss_sum,
            "dropout": self._dropout_state,
            "optimizer_steps": self.optimizer.steps,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value if math.isfinite(self.best_value) else None,
        }
        return State(arrays, values)

    def restore(self, state: State) -> None:
        """Go on from a state that `state` gave, in this or another process."""
        arrays, values = state
        self.parameters.flat[...] = arrays["parameters"]
        self.best.flat[...] = arrays["best"]
        for name, slot in self.optimizer.slots.items():
            slot[...] = arrays[f"optimizer.{name}"]
        self.epoch, self._step = values["epoch"], values["step"]
        self._loss_sum, self._dropout_state = values["loss_sum"], values["dropout"]
        self.optimizer.steps = values["optimizer_steps"]
        self.best_epoch = values["best_epoch"]
        self.best_value = math.inf if values["best_value"] is None else values["best_value"]


def _weights_only(parameters: Parameters) -> Floats:
    """1 where a parameter is a weight and 0 where it is a bias, in the parameters' layout."""
    mask = parameters.like()
    for views in mask.views:
        if "w" in views:
            views["w"][...] = 1
    return mask.flat
