"""A training run that yields one Epoch at a time, can stop at any step, and resumes to the bit."""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from worker.backprop.arrays import Floats, Integers, mean
from worker.backprop.batches import Batches, Part
from worker.backprop.best import Best
from worker.backprop.folds import Folds, evaluate_folds, held_out_z
from worker.backprop.layer_figures import dead_units, distances, layer_figures
from worker.backprop.losses.objective import Objective
from worker.backprop.measuring import check_finite, evaluate, measure
from worker.backprop.metrics import Metric
from worker.backprop.network import Network, TrainingPass
from worker.backprop.orders import DROPOUT, INITIAL_WEIGHTS, Orders
from worker.backprop.parameters import Parameters
from worker.backprop.plan import Epoch, LayerFigures, Plan, State
from worker.backprop.replay import Replay, Watch
from worker.backprop.schedules import Schedule
from worker.backprop.updates import MakeOptimizer, Updates
from worker.errors import FigureError


class Training:
    """One run. `run` may be called again after a stop; `state` and `restore` move the run to another process."""

    def __init__(
        self,
        network: Network,
        objective: Objective,
        optimizer: MakeOptimizer,
        schedule: Schedule,
        plan: Plan,
        *,
        train: Part,
        validation: Part | None = None,
        folds: Folds | None = None,
        metrics: Mapping[str, Metric],
        start: Mapping[str, Floats] | None = None,
        replay: Replay | None = None,
    ) -> None:
        """Prepare the run.

        folds: which rows of `train` each member of a stack trains on; it is validated on the others.
        start: arrays by their names in a weights file, which replace the random first weights.
        replay: keeps every tensor of the steps that it names; for a single network only.
        """
        self.replay = replay
        self.network, self.objective, self.schedule, self.plan = network, objective, schedule, plan
        self.train, self.validation, self.metrics = train, validation, metrics
        self.folds = folds
        # how many rows each member trains on
        self.rows = train.rows if folds is None else folds.own.shape[-1]
        self._weights = train.weights if folds is None else folds.weights(train)
        self.parameters = self._first_weights(start or {})
        self.gradients = self.parameters.like()
        penalised = [layer.penalised for layer in network.layers]
        self.updates = Updates(plan, optimizer, self.parameters, self.gradients, penalised)
        self.best = Best(plan, self.parameters)
        self.epoch = 0
        self._step = 0
        self._learning_rate: float | Floats = 0.0
        stacked = plan.seeds is not None
        self._orders = Orders(plan.seeds or (plan.seed,), self.rows, stacked=stacked)
        self._dropout = np.random.default_rng((plan.seed, DROPOUT))
        size = min(plan.batch_size, self.rows)
        self._batches = self._batches_of(size, self.rows // size)
        # the rows that are left over make a smaller last batch
        self._rest = self._batches_of(self.rows % size, 1) if self.rows % size else None
        self.steps = self.rows // size + (self._rest is not None)

    def _first_weights(self, start: Mapping[str, Floats]) -> Parameters:
        """Return random weights, each member's from its own seed, then overwritten by the arrays in `start`."""
        seeds = self.plan.seeds
        parameters = self.network.parameters(self.train.x_and_ones.dtype, None if seeds is None else len(seeds))
        if seeds is None:
            self.network.initialize(parameters, (self.plan.seed, INITIAL_WEIGHTS))
        for n, seed in enumerate(seeds or ()):
            self.network.initialize(parameters.member(n), (seed, INITIAL_WEIGHTS))
        parameters.overwrite(start)
        return parameters

    def _batches_of(self, rows: int, steps: int) -> tuple[Batches, TrainingPass]:
        units, members = self.network.outputs, self.plan.members
        return (
            Batches(self.train, self.objective, units, rows=rows, steps=steps, members=members, weights=self._weights),
            TrainingPass(self.network, self.objective, self.parameters, self.gradients, rows, frozen=self.plan.frozen),
        )

    @property
    def finished(self) -> bool:
        """Whether no epoch is left, or patience has run out."""
        return self.epoch >= self.plan.epochs or (self.plan.patience is not None and bool(self.best.stopped.all()))

    @property
    def final(self) -> Parameters:
        """The resulting parameters: the best epoch's if they are to be restored, else the last epoch's."""
        return self.parameters if self.best.parameters is None else self.best.parameters

    @property
    def final_epoch(self) -> int:
        """The epoch whose parameters `final` has; for a stack, the last of its members' best epochs."""
        return self.epoch if self.best.parameters is None else int(self.best.epoch.max())

    def run(self, should_stop: Callable[[], bool]) -> Iterator[Epoch]:
        """Yield epochs until finished. `should_stop` is called after each step; if it returns True, return at once.

        After an epoch's last step the epoch is yielded first.
        Raises DivergedError when a loss of an epoch, or a weight after it, is not finite; NumPy's own overflow warnings
        are off, since an overflow ends in that error. Raises FigureError if the monitored figure does not exist.
        """
        while not self.finished:
            epoch = self._one_epoch(should_stop)
            if epoch is None:
                return
            yield epoch

    @np.errstate(all="ignore")
    def _one_epoch(self, should_stop: Callable[[], bool]) -> Epoch | None:
        """Run the rest of the current epoch; return None if it was stopped before its last step."""
        order = self._order()
        kept = self._weights_of_stopped_members()
        ended = self._train_epoch(order, should_stop)
        if kept is not None:
            self.parameters.flat[self.best.stopped] = kept
            if self.updates.before is not None:
                # restored weights count as no update
                self.updates.before[self.best.stopped] = kept
        if not ended:
            return None
        epoch = self._end_epoch(order)
        if self.validation is None and self.folds is None and self.finished:
            # nothing has measured the loss of the resulting weights yet
            check_finite({"train_loss": self.evaluate(self.final, self.train)[0]}, self.final, self.epoch)
        return epoch

    def _order(self) -> Integers:
        """Return the row numbers of this epoch in their order, (rows,), or (members, rows) for a stack."""
        order = self._orders.current()
        return order if self.folds is None else np.take_along_axis(self.folds.own, order, axis=1)

    def _weights_of_stopped_members(self) -> Floats | None:
        """Return a copy of the parameters of members whose patience has run out; None if there are none.

        The caller puts them back after the epoch, since a forward pass still changes their running figures.
        """
        has_stopped = self.plan.seeds is not None and self.best.stopped.any()
        return self.parameters.flat[self.best.stopped] if has_stopped else None

    def _train_epoch(self, order: Integers, should_stop: Callable[[], bool]) -> bool:
        rates, dropout, apply, watch = self._rates(), self._dropout, self.updates.apply, self._watch()
        if watch is not None:
            apply = watch.apply
        has_figures = (self.epoch + 1) % self.plan.figures_every == 0
        for batches, each_pass, first in self._from_step(self._step):
            training_pass = each_pass if watch is None else watch.passing(each_pass)
            rows = batches.rows
            for batch in batches.in_order(self._part_of(order, batches), first):
                training_pass(*batch, dropout)
                self._step += 1
                last = self._step == self.steps
                apply(rows, rates[self._step - 1], last=last, layers=has_figures)
                if should_stop() and not last:
                    return False
        self._learning_rate = rates[-1]
        return True

    def _watch(self) -> Watch | None:
        """Return a watcher for this epoch if one of its remaining steps is wanted."""
        done = self.epoch * self.steps + self._step
        if self.replay is None or not self.replay.wants_any(done + 1, self.steps - self._step):
            return None
        return self.replay.watch(self.updates, epoch=self.epoch + 1, number=done + 1)

    def _from_step(self, step: int) -> Iterator[tuple[Batches, TrainingPass, int]]:
        """Yield the batches that are left in this epoch, each kind with the number of its first step."""
        batches, training_pass = self._batches
        if step < batches.steps:
            yield batches, training_pass, step
        if self._rest is not None:
            yield *self._rest, 0

    def _part_of(self, order: Integers, batches: Batches) -> Integers:
        """Return the rows of an epoch's order that go into the full batches, or into the smaller last one."""
        whole = batches.steps * batches.rows
        return order[..., :whole] if batches is self._batches[0] else order[..., -whole:]

    def _rates(self) -> list[float | Floats]:
        """Return the learning rate of each step, which is 0 for a member whose patience has run out."""
        factors = self.schedule.factors(self.epoch, self.steps)
        if self.plan.seeds is None:
            return [self.plan.learning_rate * factor for factor in factors]
        still_trains = ~self.best.stopped
        return [(still_trains * self.plan.learning_rate * factor)[:, None] for factor in factors]

    def _end_epoch(self, order: Integers) -> Epoch:
        self.epoch += 1
        self._step = 0
        self._orders.end_epoch()
        figures = self._train_figures(order)
        if self.validation is not None or self.folds is not None:
            loss, metrics = self._validated()
            figures |= {"validation_loss": loss} | {f"validation_{name}": value for name, value in metrics.items()}
        check_finite(figures, self.parameters, self.epoch)
        monitored = self._monitored(figures)
        self.schedule.observe(monitored)
        is_best = self.best.observe(self.epoch, monitored, self.parameters)
        means = {name: mean(value) for name, value in figures.items()}
        return Epoch(
            self.epoch,
            means.pop("train_loss"),
            means.pop("validation_loss", None),
            means,
            mean(self._learning_rate),
            mean(self.updates.gradient_norm),
            is_best,
            self._layer_figures(),
            None if self.plan.seeds is None else (monitored * (-1 if self.plan.higher_is_better else 1)).tolist(),
        )

    def _train_figures(self, order: Integers) -> dict[str, Floats]:
        """Return the loss and the metrics of the epoch's batches, each with the weights of its own step."""
        losses, sums = [], []
        for batches, _, _ in self._from_step(0):
            losses.append(batches.losses(self._part_of(order, batches)))
            sums.append(batches.last_z())
        figures: dict[str, Floats] = {"train_loss": np.sum(losses, axis=0) / self.rows}
        if self.metrics:
            z = sums[0] if len(sums) == 1 else np.concatenate(sums, axis=-1)
            y = self.train.y.take(order, 0)
            stacked = self.plan.seeds is not None
            weights = None if self.train.weights is None else self.train.weights.take(order, 0)
            own = (list(y), weights if weights is None else list(weights)) if stacked else (y, weights)
            measured = measure(self.metrics, self.objective, z, *own, stacked=stacked)
            figures |= {f"train_{name}": value for name, value in measured.items()}
        return figures

    def _validated(self) -> tuple[Floats, dict[str, Floats]]:
        """Return the loss and the metrics of the validation part, or of each member's fold."""
        if self.folds is not None:
            z = held_out_z(self.network, self.parameters, self.train, self.folds.of_row)
            return evaluate_folds(self.objective, self.metrics, z, self.train, self.folds.of_row)
        return self.evaluate(self.parameters, self.validation or self.train)

    def evaluate(self, parameters: Parameters, part: Part) -> tuple[Floats, dict[str, Floats]]:
        """Return the mean loss and the metrics of these parameters on a part, in inference mode, for each member."""
        return evaluate(self.network, self.objective, self.metrics, parameters, part)

    def _monitored(self, figures: Mapping[str, Floats]) -> Floats:
        """Return the figure that decides the best epoch, negated if higher is better.

        Raises FigureError if it is NaN.
        """
        name = self.plan.monitor
        if name not in figures:
            name = name.replace("validation_", "train_")
        if math.isnan(mean(figures[name])):
            raise FigureError(f"{name} can't be computed for these rows: monitor another figure")
        return -figures[name] if self.plan.higher_is_better else figures[name]

    def _layer_figures(self) -> list[LayerFigures] | None:
        updates = self.updates
        if updates.before is None:
            return None
        moved = distances(self.parameters, updates.before)
        # free the copy of all weights before the activations of some rows are allocated
        updates.before = None
        dead = dead_units(self.network, self.parameters, (self.validation or self.train).x)
        return layer_figures(self.network, self.parameters, updates.layer_norms, moved, dead)

    def state(self) -> State:
        """Return a copy of everything that the next step depends on."""
        arrays = {"parameters": self.parameters.flat.copy()}
        if self.best.parameters is not None:
            arrays["best"] = self.best.parameters.flat.copy()
        if self.updates.accumulated is not None:
            arrays["accumulated"] = self.updates.accumulated.flat.copy()
        if self._step:
            # the epoch's figures are computed from these
            arrays["z"] = self._batches[0].z[: self._step].copy()
        arrays |= {f"optimizer.{name}": slot.copy() for name, slot in self.updates.optimizer.slots.items()}
        values = {
            "epoch": self.epoch,
            "step": self._step,
            "orders": self._orders.state(),
            "dropout": dict(self._dropout.bit_generator.state),
            "optimizer_steps": self.updates.optimizer.steps,
            "accumulated": [self.updates.accumulated_batches, self.updates.accumulated_rows],
            "best": self.best.state(),
            "schedule": self.schedule.state(),
        }
        return State(arrays, values)

    def restore(self, state: State) -> None:
        """Continue from a state that `state` returned, in this or another process."""
        arrays, values = state
        self.parameters.flat[...] = arrays["parameters"]
        if self.best.parameters is not None:
            self.best.parameters.flat[...] = arrays["best"]
        if self.updates.accumulated is not None:
            self.updates.accumulated.flat[...] = arrays["accumulated"]
        for name, slot in self.updates.optimizer.slots.items():
            slot[...] = arrays[f"optimizer.{name}"]
        self.epoch, self._step = values["epoch"], values["step"]
        self._orders.restore(values["orders"])
        self._dropout.bit_generator.state = values["dropout"]
        if self._step:
            self._batches[0].z[: self._step] = arrays["z"]
        self.updates.optimizer.steps = values["optimizer_steps"]
        self.updates.accumulated_batches, self.updates.accumulated_rows = values["accumulated"]
        self.best.restore(values["best"])
        self.schedule.restore(values["schedule"])
