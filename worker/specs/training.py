"""How a network is trained."""

from typing import Annotated, Literal

from pydantic import Field

from worker.specs.base import Boolean, Integer, Number, Seed, Spec

Rate = Annotated[Number, Field(gt=0, le=1000)]


class Sgd(Spec):
    """Stochastic gradient descent: w <- w - learning_rate dL/dw, with classical momentum."""

    type: Literal["sgd"]
    learning_rate: Rate = 0.01
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0


class Adam(Spec):
    """Adaptive moments with bias correction. Source: Kingma and Ba (2015), algorithm 1."""

    type: Literal["adam"]
    learning_rate: Rate = 0.001
    beta1: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[Number, Field(ge=0, lt=1)] = 0.999
    epsilon: Annotated[Number, Field(gt=0, le=1)] = 1e-8


Optimizer = Annotated[Sgd | Adam, Field(discriminator="type")]


class ConstantSchedule(Spec):
    """The learning rate stays as it is."""

    type: Literal["constant"]


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

    monitor: Literal["validation_loss", "train_loss"] = "validation_loss"
    patience: Annotated[Integer, Field(ge=1, le=1_000_000)] = 10
    minimum_delta: Annotated[Number, Field(ge=0)] = 0.0
    "A smaller change is no improvement."
    restore_best: Boolean = True
    "The result has the weights of the best epoch, not of the last."


class Training(Spec):
    loss: Literal["auto", "cross_entropy", "mean_squared_error"] = "auto"
    "`auto` is cross_entropy for a category and mean_squared_error for numbers."
    optimizer: Optimizer = Adam(type="adam")
    schedule: ConstantSchedule = ConstantSchedule(type="constant")
    epochs: Annotated[Integer, Field(ge=1, le=1_000_000)] = 30
    batch_size: Annotated[Integer, Field(ge=1, le=1_000_000)] = 32
    "A batch larger than the training part is the training part."
    seed: Seed = 0
    "Of the initial weights, the split, the shuffling and dropout. The same seed gives the same bits."
    l2: Annotated[Number, Field(ge=0, le=1000)] = 0.0
    "Adds l2/2 times the sum of the squared weights (not biases) to the loss that is minimised."
    clip_norm: Annotated[Number, Field(gt=0)] | None = None
    "Scale a gradient down to this Euclidean norm if it is longer."
    validation: Validation = Validation()
    test: Test | None = None
    early_stopping: EarlyStopping | None = None
    max_seconds: Annotated[Number, Field(gt=0, le=7 * 86_400)] = 86_400.0
    "Training time of one attempt; past it the job fails as `timed_out`."
    threads: Annotated[Integer, Field(ge=1, le=64)] = 1
    "BLAS threads. One is best but for large layers."
    checkpoint_seconds: Annotated[Number, Field(ge=0.1, le=86_400)] = 10.0
    "Time between checkpoints, from which a killed job resumes."
    snapshots: Annotated[Integer, Field(ge=0, le=32)] = 32
    "Weights kept along the way, log-spaced over the epochs, at most."
