"""Specifications of losses, with their parameters, limits and defaults."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from worker.specs.base import AtMost, Number, Spec

LossName = Literal[
    "auto",
    "cross_entropy",
    "binary_cross_entropy",
    "mean_squared_error",
    "mean_absolute_error",
    "huber",
    "log_cosh",
    "poisson",
    "quantile",
]
Smoothing = Annotated[Number, Field(ge=0, lt=1)]
ClassWeights = Literal["balanced"] | Annotated[dict[str, Annotated[Number, Field(ge=0, le=1e6)]], AtMost(1000)]


class CrossEntropy(Spec):
    """-log of the probability that softmax gives to the true class, in nats. For a categorical target."""

    type: Literal["cross_entropy"]
    label_smoothing: Smoothing = 0.0
    "The share of each target that is spread over all classes. Source: Szegedy et al. (2016), section 7."
    class_weights: ClassWeights | None = None
    "The weight of a row of each class. `balanced`: the inverse of the class's share. A class that is not named has 1."


class BinaryCrossEntropy(Spec):
    """Cross-entropy of sigmoid outputs, in nats.

    There is one output for a target with two classes, or one output for each of several columns of 0 and 1.
    """

    type: Literal["binary_cross_entropy"]
    label_smoothing: Smoothing = 0.0
    class_weights: ClassWeights | None = None


class Huber(Spec):
    """Squared up to delta and linear beyond, so that outliers pull no harder than other rows. Source: Huber (1964)."""

    type: Literal["huber"]
    delta: Annotated[Number, Field(ge=1e-30, le=1e6)] = 1.0
    "In standard deviations of the target."


class Quantile(Spec):
    """The network learns the given quantile of the target; one row in ten exceeds the quantile 0.9.

    Source: Koenker and Bassett (1978).
    """

    type: Literal["quantile"]
    quantile: Annotated[Number, Field(gt=0, lt=1)] = 0.5


class PlainLoss(Spec):
    """A loss without parameters; giving its name alone means the same."""

    type: Literal["mean_squared_error", "mean_absolute_error", "log_cosh", "poisson"]


LossWithNumbers = Annotated[
    CrossEntropy | BinaryCrossEntropy | Huber | Quantile | PlainLoss, Field(discriminator="type")
]
# discriminated by hand, so that a fault is reported once
Loss = Annotated[
    Annotated[LossName, Tag("name")] | Annotated[LossWithNumbers, Tag("numbers")],
    Discriminator(lambda given: "name" if isinstance(given, str) else "numbers"),
]
