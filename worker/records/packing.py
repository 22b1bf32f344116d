"""Epochs as columns of numbers, and columns as bytes. Every float64 keeps its bits.

A block of a curve stores its epochs in this form: as a row each they would take five times the room.
"""

import json
import math
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import numpy as safetensors

from worker.records.points import FIGURES, Point

Columns = dict[str, NDArray[Any]]
"""The columns of some epochs, in order: those of NUMBERS and FLOATS, and the metrics, whose names begin with METRIC.

A figure that is None is NaN. A metric that an epoch does not have is ABSENT."""

NUMBERS = ("epoch", "seq", "attempt", "is_best", "has_layers")
"The columns of whole numbers. `is_best` may be UNKNOWN. The figures of layers themselves are in a table of their own."
FLOATS = tuple(name for name in FIGURES if name != "epoch")
METRIC = "metrics."
UNKNOWN = -1
# no recorded figure is infinite: see `points.recorded_point`
ABSENT = math.inf
LENGTH_BYTES = 8
# level 1 takes a third of the default's time, for 2 % more bytes
FASTEST = 1


def columns_of(points: Sequence[Point], *, first_seq: int, attempt: int) -> Columns:
    """Return the columns of points that are recorded with consecutive sequence numbers."""
    numbers = {
        "epoch": [point.epoch for point in points],
        "seq": range(first_seq, first_seq + len(points)),
        "attempt": [attempt] * len(points),
        "is_best": [UNKNOWN if point.is_best is None else int(point.is_best) for point in points],
        "has_layers": [int(point.layers is not None) for point in points],
    }
    columns = {name: np.array(values, np.int64) for name, values in numbers.items()}
    columns |= {name: _floats(getattr(point, name) for point in points) for name in FLOATS}
    for name in dict.fromkeys(name for point in points for name in point.metrics):
        columns[METRIC + name] = _floats(point.metrics.get(name, ABSENT) for point in points)
    return columns


def points_of(columns: Columns, layers: dict[int, Any]) -> list[Point]:
    """Return the points of the columns. layers: the figures of layers of the epochs that have them."""
    figures = {name: _values(columns[name]) for name in FLOATS}
    metrics = {name.removeprefix(METRIC): _values(columns[name]) for name in columns if name.startswith(METRIC)}
    return [
        Point(
            epoch=epoch,
            metrics={name: values[n] for name, values in metrics.items() if values[n] != ABSENT},
            layers=layers.get(epoch),
            is_best=None if is_best == UNKNOWN else bool(is_best),
            **{name: values[n] for name, values in figures.items()},
        )
        for n, (epoch, is_best) in enumerate(
            zip(columns["epoch"].tolist(), columns["is_best"].tolist(), strict=True),
        )
    ]


def chosen(columns: Columns, which: NDArray[Any]) -> Columns:
    """Return the columns of some of the epochs. which: a boolean for each epoch, or the positions of those to keep."""
    return {name: column[which] for name, column in columns.items()}


def joined(parts: Sequence[Columns]) -> Columns:
    """Return the columns of all parts, one after the other."""
    names = dict.fromkeys(name for part in parts for name in part)
    whole = {name: [part[name] if name in part else _absent(part) for part in parts] for name in names}
    return {name: np.concatenate(pieces) for name, pieces in whole.items()} or columns_of([], first_seq=0, attempt=0)


def _absent(part: Columns) -> NDArray[Any]:
    """Return the column of a metric that none of the epochs has."""
    return np.full(len(part["epoch"]), ABSENT)


def pack(columns: Columns) -> bytes:
    """Return the columns as a compressed safetensors file of two arrays; the figures' names are in its metadata."""
    names = [name for name in columns if name not in NUMBERS]
    # nearly all of the differences are 0 or 1, which take hardly any room when they are compressed
    numbers = np.diff(np.stack([columns[name] for name in NUMBERS]), prepend=0, axis=1)
    arrays = {"numbers": numbers, "figures": np.stack([columns[name] for name in names])}
    return zlib.compress(safetensors.save(arrays, {"names": json.dumps(names)}), FASTEST)


def unpack(content: bytes) -> Columns:
    """Return the columns that were packed."""
    file = zlib.decompress(content)
    length = int.from_bytes(file[:LENGTH_BYTES], "little")
    header = json.loads(file[LENGTH_BYTES : LENGTH_BYTES + length])
    arrays = safetensors.load(file)
    numbers = np.cumsum(arrays["numbers"], axis=1)
    columns = dict(zip(NUMBERS, numbers, strict=True))
    return columns | dict(zip(json.loads(header["__metadata__"]["names"]), arrays["figures"], strict=True))


def _floats(values: Iterable[float | None]) -> NDArray[Any]:
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _values(column: NDArray[Any]) -> list[Any]:
    return [None if math.isnan(value) else value for value in column.tolist()]
