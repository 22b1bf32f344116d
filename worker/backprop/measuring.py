"""The loss and the metrics of a network's outputs, with one number for each member of a stack."""

import math
from collections.abc import Mapping

import numpy as np

from worker.backprop.arrays import Floats, Targets, mean
from worker.backprop.batches import Part
from worker.backprop.losses.objective import Objective
from worker.backprop.metrics import Metric
from worker.backprop.network import Network
from worker.backprop.parameters import Parameters
from worker.errors import DivergedError

# rows in one forward pass outside training: enough to run at full speed, few enough to take little memory
EVALUATION_ROWS = 512

LOSS_NAMES_IN_ERRORS = {"train_loss": "loss", "validation_loss": "validation loss"}


def evaluate(
    network: Network, objective: Objective, metrics: Mapping[str, Metric], parameters: Parameters, part: Part
) -> tuple[Floats, dict[str, Floats]]:
    """Return the mean loss and the metrics of these parameters on a part, in inference mode."""
    x = part.x
    starts = range(0, len(x), EVALUATION_ROWS)
    z = np.concatenate([network.last_z(parameters, x[n : n + EVALUATION_ROWS]) for n in starts], axis=-1)
    measured = measure(metrics, objective, z, part.y, part.weights, stacked=parameters.members is not None)
    return objective.mean(z, part.y, part.weights), measured


def measure(
    metrics: Mapping[str, Metric],
    objective: Objective,
    z: Floats,
    y: Targets | list[Targets],
    weights: Floats | list[Floats] | None,
    *,
    stacked: bool,
) -> dict[str, Floats]:
    """Return each metric, one number for each member.

    z: the last z, (..., units, rows).
    y, weights: those that all members of a stack share, or lists of each member's own. Without weights all rows count
        the same.
    """
    a, found = objective.activation.value(z), {}
    for name, metric in metrics.items():
        outputs = z if metric.takes_z else a
        if stacked:
            own = y if isinstance(y, list) else [y] * len(outputs)
            counting = weights if isinstance(weights, list) else [weights] * len(outputs)
            found[name] = np.array([metric(*member) for member in zip(outputs, own, counting, strict=True)])
        else:
            found[name] = np.asarray(metric(outputs, np.asarray(y), None if weights is None else np.asarray(weights)))
    return found


def check_finite(figures: Mapping[str, Floats], parameters: Parameters, epoch: int) -> None:
    """Raise DivergedError if a loss or a weight is not finite.

    Weights are checked too, since the training loss was taken before the last step changed them.
    """
    losses = [(figures[name], what) for name, what in LOSS_NAMES_IN_ERRORS.items() if name in figures]
    # a sum is finite only if every term is
    if math.isfinite(sum(mean(loss) for loss, _ in losses) + float(np.add.reduce(parameters.flat, axis=None))):
        return
    for values, what in (*losses, (parameters.flat.sum(axis=-1, dtype=np.float64), "weight")):
        finite = np.isfinite(values)
        if not finite.all():
            raise DivergedError(epoch, what, int(finite.argmin()) if finite.ndim else None)
