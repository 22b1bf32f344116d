"""A whole training run from a specification."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from worker.backprop import optimizers, schedules
from worker.backprop.arrays import Floats
from worker.backprop.batches import Part
from worker.backprop.fit import Training
from worker.backprop.metrics import HIGHER_IS_BETTER, Metric
from worker.backprop.network import Network
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

OPTIMIZERS: dict[str, Any] = {
    "sgd": optimizers.Momentum,
    "adagrad": optimizers.Adagrad,
    "rmsprop": optimizers.RmsProp,
    "adam": optimizers.Adam,
    "adamw": optimizers.Adam,
    "nadam": optimizers.Nadam,
    "lion": optimizers.Lion,
}
"Decay is not the optimizer's, but the plan's."

# a curve is drawn on some 500 pixels: more epochs with figures of each layer would fill the database, not the eye
EPOCHS_WITH_FIGURES = 256


def build_training(
    spec: TrainingSpec,
    task: Task,
    network: Network,
    *,
    train: Part,
    validation: Part | None,
    metrics: dict[str, Metric],
    start: Mapping[str, Floats] | None = None,
    frozen: int = 0,
) -> Training:
    """A training run that has not begun. start: arrays in place of random ones; frozen: layers that keep theirs."""
    return Training(
        network,
        build_objective(task),
        make_optimizer(spec.optimizer),
        make_schedule(spec.schedule, spec.epochs),
        replace(make_plan(spec), frozen=frozen),
        train=train,
        validation=validation,
        metrics=metrics,
        start=start,
        replay=Replay(spec.replay_steps) if spec.replay_steps else None,
    )


def check_training(spec: Job) -> None:
    """Raise SpecError for numbers that do not go together."""
    training, schedule = spec.training, spec.training.schedule
    optimizer = training.optimizer
    if isinstance(optimizer, optimizer_specs.Sgd) and optimizer.nesterov and not optimizer.momentum:
        raise SpecError("/training/optimizer/nesterov", "looks ahead along the momentum, which is 0")
    if isinstance(schedule, schedule_specs.CosineSchedule) and schedule.warmup_epochs >= training.epochs:
        raise SpecError("/training/schedule/warmup_epochs", f"must be less than the {training.epochs} epochs")
    if training.replay_steps and (training.ensemble > 1 or training.accumulate > 1):
        raise SpecError("/training/replay_steps", "are kept of a single network, ensemble 1 and accumulate 1")
    for n, layer in enumerate(spec.network.layers):
        inner = layer.layers if isinstance(layer, layer_specs.ResidualLayer) else [layer]
        if training.batch_size == 1 and any(isinstance(one, layer_specs.BatchNormLayer) for one in inner):
            raise SpecError(f"/network/layers/{n}", "batch_norm needs a batch_size of 2 or more; layer_norm does not")


def make_plan(spec: TrainingSpec) -> Plan:
    stopping = spec.early_stopping
    monitor = stopping.monitor if stopping else "validation_loss"
    return Plan(
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        learning_rate=spec.optimizer.learning_rate,
        seed=spec.seed,
        seeds=member_seeds(spec),
        l1=spec.l1,
        l2=spec.l2,
        decay=getattr(spec.optimizer, "weight_decay", 0.0),
        clip_norm=spec.clip_norm,
        clip_value=spec.clip_value,
        accumulate=spec.accumulate,
        monitor=monitor,
        higher_is_better=monitor.partition("_")[2] in HIGHER_IS_BETTER,
        patience=Patience(stopping.patience, stopping.minimum_delta, stopping.restore_best) if stopping else None,
        figures_every=-(-spec.epochs // EPOCHS_WITH_FIGURES),
    )


def member_seeds(spec: TrainingSpec) -> tuple[int, ...] | None:
    """Of an ensemble's members; None for a single network."""
    return tuple(range(spec.seed, spec.seed + spec.ensemble)) if spec.ensemble > 1 else None


def make_optimizer(spec: optimizer_specs.Optimizer) -> MakeOptimizer:
    """A function from the flat weights and gradient to their optimizer."""
    if isinstance(spec, optimizer_specs.Sgd) and not spec.momentum:
        return optimizers.Sgd
    kind = OPTIMIZERS[spec.type]
    numbers: dict[str, Any] = spec.model_dump(exclude={"type", "learning_rate", "weight_decay"})
    return lambda weights, gradient: kind(weights, gradient, **numbers)


def make_schedule(spec: schedule_specs.Schedule, epochs: int) -> schedules.Schedule:
    match spec:
        case schedule_specs.StepSchedule():
            return schedules.Step(spec.every, spec.factor)
        case schedule_specs.ExponentialSchedule():
            return schedules.Exponential(spec.factor)
        case schedule_specs.CosineSchedule():
            return schedules.Cosine(epochs, warmup=spec.warmup_epochs, start=spec.start, end=spec.end)
        case schedule_specs.OneCycleSchedule():
            return schedules.OneCycle(epochs, rise=spec.rise, divide=spec.divide, final_divide=spec.final_divide)
        case schedule_specs.PlateauSchedule():
            return schedules.Plateau(spec.factor, spec.patience, threshold=spec.threshold, floor=spec.floor)
        case schedule_specs.ConstantSchedule():
            return schedules.Schedule()
