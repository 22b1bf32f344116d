"""How the learning rate changes over a run. Each is a factor on the optimizer's rate."""

from typing import Annotated, Literal

from pydantic import Field

from worker.specs.base import Integer, Number, Spec

Factor = Annotated[Number, Field(gt=0, lt=1)]
Epochs = Annotated[Integer, Field(ge=1, le=1_000_000)]


class ConstantSchedule(Spec):
    """The learning rate stays as it is."""

    type: Literal["constant"]


class StepSchedule(Spec):
    """Falls by a factor every so many epochs."""

    type: Literal["step"]
    every: Epochs = 10
    "Epochs between two falls."
    factor: Factor = 0.1


class ExponentialSchedule(Spec):
    """Falls by a factor every epoch."""

    type: Literal["exponential"]
    factor: Factor = 0.95


class CosineSchedule(Spec):
    """Rises in a straight line over the warm-up, then falls along half a cosine, step by step.

    Source: Loshchilov and Hutter (2017), equation 5; the warm-up: Goyal et al. (2017), section 2.2.
    """

    type: Literal["cosine"]
    warmup_epochs: Annotated[Integer, Field(ge=0, le=1_000_000)] = 0
    start: Annotated[Number, Field(ge=0, le=1)] = 0.01
    "The share of the rate that the first step has, if there is a warm-up."
    end: Annotated[Number, Field(ge=0, le=1)] = 0.0
    "The share of the rate that is approached; the step after the last would have it."


class OneCycleSchedule(Spec):
    """Rises to the rate over the first share of the run, then falls towards nothing.

    Source: Smith and Topin (2018).
    """

    type: Literal["one_cycle"]
    rise: Annotated[Number, Field(gt=0, lt=1)] = 0.3
    "The share of all steps over which the rate rises."
    divide: Annotated[Number, Field(gt=1, le=1e6)] = 25.0
    "The first rate is the optimizer's divided by this."
    final_divide: Annotated[Number, Field(ge=1, le=1e9)] = 1e4
    "The rate approached at the end is the first divided by this."


class PlateauSchedule(Spec):
    """Falls by a factor when the monitored figure (see early_stopping.monitor) has stopped improving."""

    type: Literal["plateau"]
    factor: Factor = 0.1
    patience: Annotated[Integer, Field(ge=0, le=1_000_000)] = 10
    "Epochs without an improvement that are borne."
    threshold: Annotated[Number, Field(ge=0, lt=1)] = 1e-4
    "An improvement by a smaller share of the best value is none."
    floor: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    "The share of the rate below which it never falls."


Schedule = Annotated[
    ConstantSchedule | StepSchedule | ExponentialSchedule | CosineSchedule | OneCycleSchedule | PlateauSchedule,
    Field(discriminator="type"),
]
