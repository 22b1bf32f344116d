"""Specifications of learning-rate schedules. Each schedule is a factor on the optimizer's rate."""

from typing import Annotated, Literal

from pydantic import Field

from worker.specs.base import Integer, Number, Spec

Factor = Annotated[Number, Field(gt=0, lt=1)]
Epochs = Annotated[Integer, Field(ge=1, le=1_000_000)]


class ConstantSchedule(Spec):
    """The learning rate is constant."""

    type: Literal["constant"]


class StepSchedule(Spec):
    """The rate falls by a factor every `every` epochs."""

    type: Literal["step"]
    every: Epochs = 10
    "The number of epochs between two falls."
    factor: Factor = 0.1


class ExponentialSchedule(Spec):
    """The rate falls by a factor every epoch."""

    type: Literal["exponential"]
    factor: Factor = 0.95


class CosineSchedule(Spec):
    """The rate rises linearly over the warm-up, then falls along half a cosine, step by step.

    Source: Loshchilov and Hutter (2017), equation 5; the warm-up: Goyal et al. (2017), section 2.2.
    """

    type: Literal["cosine"]
    warmup_epochs: Annotated[Integer, Field(ge=0, le=1_000_000)] = 0
    start: Annotated[Number, Field(ge=0, le=1)] = 0.01
    "The share of the rate at the first step, if there is a warm-up."
    end: Annotated[Number, Field(ge=0, le=1)] = 0.0
    "The share of the rate that the last steps approach; the step after the last would reach it."


class OneCycleSchedule(Spec):
    """The rate rises over the first part of the run, then falls towards 0.

    Source: Smith and Topin (2018).
    """

    type: Literal["one_cycle"]
    rise: Annotated[Number, Field(gt=0, lt=1)] = 0.3
    "The share of all steps over which the rate rises."
    divide: Annotated[Number, Field(gt=1, le=1e6)] = 25.0
    "The first rate is the optimizer's rate divided by this."
    final_divide: Annotated[Number, Field(ge=1, le=1e9)] = 1e4
    "The rate at the end approaches the first rate divided by this."


class PlateauSchedule(Spec):
    """The rate falls by a factor when the monitored figure (see early_stopping.monitor) has stopped improving."""

    type: Literal["plateau"]
    factor: Factor = 0.1
    patience: Annotated[Integer, Field(ge=0, le=1_000_000)] = 10
    "The number of epochs without an improvement that are tolerated."
    threshold: Annotated[Number, Field(ge=0, lt=1)] = 1e-4
    "An improvement by a smaller share of the best value does not count."
    floor: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    "The smallest share of the rate."


Schedule = Annotated[
    ConstantSchedule | StepSchedule | ExponentialSchedule | CosineSchedule | OneCycleSchedule | PlateauSchedule,
    Field(discriminator="type"),
]
