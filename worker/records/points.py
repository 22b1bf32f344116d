"""One point of a curve. Events, the API, CSV and the page take their columns from its fields.

The engine's Epoch, the API's schema and the page's labels name the columns too; tests hold them equal.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

from worker.backprop import plan


@dataclass(frozen=True, kw_only=True)
class Point:
    """One epoch as it is recorded. A figure that is not finite is None.

    The fields are those of `backprop.plan.Epoch`, with two differences: `members` is not recorded, and `seconds` is how
    long the epoch took.
    layers: the figures of each layer; None in epochs in which they are not taken.
    """

    epoch: int
    train_loss: float | None
    validation_loss: float | None
    metrics: dict[str, float | None]
    learning_rate: float
    gradient_norm: float | None
    layers: list[dict[str, float | None]] | None = None
    seconds: float
    is_best: bool | None
    "Whether the monitored figure is the best so far. None in epochs that were recorded before this figure existed."

    @property
    def summary(self) -> dict[str, Any]:
        """The figures that a job shows for its latest and its best epoch."""
        return {name: getattr(self, name) for name in SUMMARY}

    @property
    def bits(self) -> tuple[Any, ...]:
        """The figures that a resumed run must repeat exactly."""
        return tuple(getattr(self, name) for name in REPEATED)


COLUMNS = tuple(column.name for column in fields(Point))
"The columns of the curve."
FIGURES = tuple(name for name in COLUMNS if name not in ("metrics", "layers", "is_best"))
"The columns with one number per epoch."
SUMMARY = ("epoch", "train_loss", "validation_loss", "metrics")
REPEATED = tuple(name for name in COLUMNS if name not in ("epoch", "seconds", "is_best"))


def recorded_point(epoch: plan.Epoch, seconds: float) -> Point:
    """Return the point that records an epoch of the engine. seconds: how long the epoch took."""
    values = {name: _recordable(getattr(epoch, name)) for name in COLUMNS if name != "seconds"}
    return Point(seconds=round(seconds, 6), **values)


def _recordable(value: Any) -> Any:
    """Return the value as JSON can store it: a number that is not finite becomes None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, plan.LayerFigures):
        return _recordable(value._asdict())
    if isinstance(value, dict):
        return {name: _recordable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_recordable(one) for one in value]
    return value
