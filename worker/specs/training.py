"""How a network is trained."""

from typing import Annotated, Literal

from pydantic import Field

from worker.specs.base import Boolean, Integer, Number, Seed, Spec
from worker.specs.losses import Loss
from worker.specs.optimizers import Adam, Optimizer
from worker.specs.schedules import ConstantSchedule, Schedule

Metric = Literal[
    "accuracy",
    "top_2",
    "top_3",
    "top_5",
    "balanced_accuracy",
    "macro_f1",
    "roc_auc",
    "log_loss",
    "r2",
    "rmse",
    "mae",
]


class Validation(Spec):
    """The part of the rows that is never trained on and is measured after each epoch."""

    fraction: Annotated[Number, Field(ge=0, lt=1)] = 0.2
    "0 turns it off. A table under 20 rows gets no validation part, and its training loss is monitored instead."
    stratify: Boolean | None = None
    "Keep each class's share. null: where every class has rows enough."


class Test(Spec):
    """The part of the rows that is measured once, at the end."""

    __test__ = False  # not a test case, whatever its name says to pytest

    fraction: Annotated[Number, Field(gt=0, lt=1)] = 0.1
    stratify: Boolean | None = None
    "Keep each class's share. null: where every class has rows enough."


class EarlyStopping(Spec):
    """End when the monitored figure has not improved for `patience` epochs."""

    monitor: Annotated[str, Field(pattern=r"^(train|validation)_[a-z0-9_]{1,40}$")] = "validation_loss"
    """Any figure of the curve: `validation_loss`, `train_loss`, or one of the metrics, such as `validation_accuracy`.
    Without a validation part the training part's figure is taken."""
    patience: Annotated[Integer, Field(ge=1, le=1_000_000)] = 10
    minimum_delta: Annotated[Number, Field(ge=0)] = 0.0
    "A smaller change is no improvement."
    restore_best: Boolean = True
    "The result has the weights of the best epoch, not of the last."


class Training(Spec):
    loss: Loss = "auto"
    """A name, or an object with numbers of its own, such as `{"type": "huber", "delta": 0.5}`. `auto`: cross_entropy
    for a category, mean_squared_error for numbers."""
    metrics: Annotated[tuple[Metric, ...], Field(max_length=8)] | None = None
    """Recorded each epoch beside the loss. null: accuracy of a category, r2 of numbers. For a category: accuracy,
    top_2, top_3, top_5, balanced_accuracy, macro_f1, roc_auc, log_loss; for numbers: r2, and rmse and mae in the
    target's own units."""
    optimizer: Optimizer = Adam(type="adam")
    schedule: Schedule = ConstantSchedule(type="constant")
    epochs: Annotated[Integer, Field(ge=1, le=1_000_000)] = 30
    batch_size: Annotated[Integer, Field(ge=1, le=1_000_000)] = 32
    "A batch larger than the training part is the training part."
    accumulate: Annotated[Integer, Field(ge=1, le=10_000)] = 1
    """Batches whose gradients make one step: as one batch so many times as large, in the memory of one. batch_norm
    sees each of them alone."""
    seed: Seed = 0
    "Of the initial weights, the split, the shuffling and dropout. The same seed gives the same bits."
    ensemble: Annotated[Integer, Field(ge=1, le=64)] = 1
    """So many networks are trained at once, with seeds seed, seed + 1, ...; the result predicts their mean and how far
    they differ. 64 small ones cost about as much as 10."""
    precision: Literal["float32", "float64"] = "float32"
    "float64 takes twice the memory and time; for small problems that need every digit."
    l1: Annotated[Number, Field(ge=0, le=1000)] = 0.0
    "Adds l1 times the sum of the weights' magnitudes (not biases') to what is minimised: many become nearly 0."
    l2: Annotated[Number, Field(ge=0, le=1000)] = 0.0
    "Adds l2/2 times the sum of the squared weights (not biases) to the loss that is minimised."
    clip_norm: Annotated[Number, Field(ge=1e-30)] | None = None
    "Scale a gradient down to this Euclidean norm if it is longer."
    clip_value: Annotated[Number, Field(ge=1e-30)] | None = None
    "Cut each element of a gradient at this magnitude."
    validation: Validation = Validation()
    test: Test | None = None
    early_stopping: EarlyStopping | None = None
    max_seconds: Annotated[Number, Field(gt=0, le=7 * 86_400)] = 86_400.0
    "Training time of one attempt; past it the job fails as `timed_out`."
    threads: Annotated[Integer, Field(ge=1, le=64)] = 1
    "BLAS threads. One is best but for large layers."
    checkpoint_seconds: Annotated[Number, Field(ge=0.1, le=86_400)] = 10.0
    "Time between checkpoints, from which a killed job resumes; longer where a checkpoint takes over 2.5 % of it."
    replay_steps: Annotated[tuple[Annotated[Integer, Field(ge=1)], ...], Field(max_length=4)] = ()
    """Steps, counted from 1 over the whole run, of which every tensor is kept: inputs, z, a, gradients, the update, and
    the weights before and after. Of a single network, with one batch to a step; at most 32 MiB in all."""
    snapshots: Annotated[Integer, Field(ge=0, le=32)] = 32
    "Weights kept along the way, log-spaced over the epochs, at most."
