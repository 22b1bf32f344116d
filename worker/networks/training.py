"""Builds the engine's side of a run from a specification: plan, optimizer, schedule, and a Training not yet begun.

It sees no table. `running/loading.py` encodes and splits the table, and calls `build_training` with the parts.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from worker.backprop import schedules
from worker.backprop.arrays import Floats
from worker.backprop.batches import Part
from worker.backprop.fit import Training
from worker.backprop.folds import Folds
from worker.backprop.metrics import METRICS, Metric
from worker.backprop.network import Network
from worker.backprop.optimizers import OPTIMIZERS
from worker.backprop.plan import Patience, Plan
from worker.backprop.replay import Replay
from worker.backprop.updates import MakeOptimizer
from worker.errors import SpecError
from worker.networks.task import Task, build_objective
from worker.specs import network as layer_specs
from worker.specs import optimizers as optimizer_specs
from worker.specs import schedules as schedule_specs
from worker.specs.job import Job
from worker.specs.training import Training as TrainingSpec

# a curve is drawn on some 500 pixels, so storing the figures of each layer for more epochs would only waste space
EPOCHS_WITH_FIGURES = 256


def build_training(
    spec: TrainingSpec,
    task: Task,
    network: Network,
    *,
    train: Part,
    validation: Part | None,
    folds: Folds | None,
    metrics: dict[str, Metric],
    start: Mapping[str, Floats] | None = None,
    frozen: int = 0,
) -> Training:
    """Return a training run that has not begun.

    start: arrays by name that replace the random first weights.
    frozen: how many of the first layers keep their weights.
    """
    return Training(
        network,
        build_objective(task),
        make_optimizer(spec.optimizer),
        make_schedule(spec.schedule, spec.epochs),
        replace(make_plan(spec), frozen=frozen),
        train=train,
        validation=validation,
        folds=folds,
        metrics=metrics,
        start=start,
        replay=Replay(spec.replay_steps) if spec.replay_steps else None,
    )


def check_training(spec: Job) -> None:
    """Raise SpecError for settings that contradict each other."""
    training, schedule = spec.training, spec.training.schedule
    optimizer = training.optimizer
    if isinstance(optimizer, optimizer_specs.Sgd) and optimizer.nesterov and not optimizer.momentum:
        raise SpecError("/training/optimizer/nesterov", "looks ahead along the momentum, which is 0")
    if isinstance(schedule, schedule_specs.CosineSchedule) and schedule.warmup_epochs >= training.epochs:
        raise SpecError("/training/schedule/warmup_epochs", f"must be less than the {training.epochs} epochs")
    if training.replay_steps and (training.members > 1 or training.accumulate > 1):
        raise SpecError("/training/replay_steps", "can be kept only with ensemble 1 and accumulate 1")
    for n, layer in enumerate(spec.network.layers):
        inner = layer.layers if isinstance(layer, layer_specs.ResidualLayer) else [layer]
        if training.batch_size == 1 and any(isinstance(one, layer_specs.BatchNormLayer) for one in inner):
            raise SpecError(f"/network/layers/{n}", "batch_norm needs a batch_size of 2 or more; layer_norm does not")


def make_plan(spec: TrainingSpec) -> Plan:
    """Return the plan of the run, without `frozen`."""
    stopping = spec.early_stopping
    monitor = stopping.monitor if stopping else "validation_loss"
    metric = METRICS.get(monitor.partition("_")[2])
    optimizer = spec.optimizer
    return Plan(
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        learning_rate=optimizer.learning_rate,
        seed=spec.seed,
        seeds=member_seeds(spec),
        l1=spec.l1,
        l2=spec.l2,
        decay=0.0 if isinstance(optimizer, optimizer_specs.Adam) else optimizer.weight_decay,
        clip_norm=spec.clip_norm,
        clip_value=spec.clip_value,
        accumulate=spec.accumulate,
        monitor=monitor,
        higher_is_better=metric is not None and metric.higher_is_better,
        patience=Patience(stopping.patience, stopping.minimum_delta, stopping.restore_best) if stopping else None,
        figures_every=-(-spec.epochs // EPOCHS_WITH_FIGURES),
    )


def member_seeds(spec: TrainingSpec) -> tuple[int, ...] | None:
    """Return the seeds of an ensemble's members; None for a single network."""
    return tuple(range(spec.seed, spec.seed + spec.members)) if spec.members > 1 else None


def make_optimizer(spec: optimizer_specs.Optimizer) -> MakeOptimizer:
    """Return a function that builds the optimizer from the flat weights and their gradient."""
    # the rate and weight decay belong to the plan
    numbers: dict[str, Any] = spec.model_dump(exclude={"type", "learning_rate", "weight_decay"})
    return partial(OPTIMIZERS[spec.type].make, **numbers)


def make_schedule(spec: schedule_specs.Schedule, epochs: int) -> schedules.Schedule:
    """Return the schedule of a run. epochs: the length of the run."""
    match spec:
        case schedule_specs.StepSchedule():
            return schedules.StepDecay(spec.every, spec.factor)
        case schedule_specs.ExponentialSchedule():
            return schedules.ExponentialDecay(spec.factor)
        case schedule_specs.CosineSchedule():
            return schedules.Cosine(epochs, warmup=spec.warmup_epochs, start=spec.start, end=spec.end)
        case schedule_specs.OneCycleSchedule():
            return schedules.OneCycle(epochs, rise=spec.rise, divide=spec.divide, final_divide=spec.final_divide)
        case schedule_specs.PlateauSchedule():
            return schedules.Plateau(spec.factor, spec.patience, threshold=spec.threshold, floor=spec.floor)
        case schedule_specs.ConstantSchedule():
            return schedules.Schedule()
        case _:
            assert_never(spec)
