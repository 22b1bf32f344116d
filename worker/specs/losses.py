"""What is minimised."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from worker.specs.base import Number, Spec

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
ClassWeights = Literal["balanced"] | dict[str, Annotated[Number, Field(ge=0, le=1e6)]]


class CrossEntropy(Spec):
    """-log of the probability that softmax gives to the true class, in nats. For a category."""

    type: Literal["cross_entropy"]
    label_smoothing: Smoothing = 0.0
    "This share of each target is spread over all classes. Source: Szegedy et al. (2016), section 7."
    class_weights: ClassWeights | None = None
    "How much a row of each class counts; `balanced`: by the inverse of its share; a class that is not named: 1."


class BinaryCrossEntropy(Spec):
    """The same of sigmoid outputs: one for a category of two classes, or one for each of several 0-or-1 columns."""

    type: Literal["binary_cross_entropy"]
    label_smoothing: Smoothing = 0.0
    class_weights: ClassWeights | None = None


class Huber(Spec):
    """Squared up to delta and straight beyond: a far-off row pulls no harder than a near one. Source: Huber (1964)."""

    type: Literal["huber"]
    delta: Annotated[Number, Field(ge=1e-30, le=1e6)] = 1.0
    "In standard deviations of the target."


class Quantile(Spec):
    """The network learns the given quantile of the target: 0.9 is exceeded by one row in ten.

    Source: Koenker and Bassett (1978).
    """

    type: Literal["quantile"]
    quantile: Annotated[Number, Field(gt=0, lt=1)] = 0.5


class PlainLoss(Spec):
    """One without numbers of its own; its name alone says the same."""

    type: Literal["mean_squared_error", "mean_absolute_error", "log_cosh", "poisson"]


LossWithNumbers = Annotated[
    CrossEntropy | BinaryCrossEntropy | Huber | Quantile | PlainLoss, Field(discriminator="type")
]
# told apart by its kind, so that a fault is reported once
Loss = Annotated[
    Annotated[LossName, Tag("name")] | Annotated[LossWithNumbers, Tag("numbers")],
    Discriminator(lambda given: "name" if isinstance(given, str) else "numbers"),
]
