"""Every loss by its name in a specification."""

from worker.backprop.losses.classes import BinaryCrossEntropy, SoftmaxCrossEntropy
from worker.backprop.losses.numbers import Huber, LogCosh, MeanAbsoluteError, MeanSquaredError, Poisson, Quantile
from worker.backprop.losses.objective import Objective

LOSSES: dict[str, type[Objective]] = {
    "cross_entropy": SoftmaxCrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "mean_squared_error": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "huber": Huber,
    "log_cosh": LogCosh,
    "poisson": Poisson,
    "quantile": Quantile,
}
