"""A curve as columns of numbers, and their text as JSON or CSV. A million epochs take about 100 MB."""

import csv
import io
import math
from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from service.schemas.jobs import Curve
from worker.records.blocks import read_layers, read_level
from worker.records.packing import METRIC, Columns
from worker.records.points import FIGURES
from worker.records.sessions import Database

ROWS_AT_ONCE = 10_000


class CurveColumns:
    """The points of one curve. A figure that is missing is NaN: no figure that is recorded is."""

    def __init__(self) -> None:
        self.length = 0
        self._figures = {name: array("d") for name in FIGURES}
        self._metrics: dict[str, array[float]] = {}
        # at most 256 epochs of a job have them
        self._layers: dict[int, list[Any]] = {}

    def add(self, columns: Columns, layers: dict[int, Any]) -> None:
        """Add epochs. layers: the figures of layers of the epochs that have them."""
        count = len(columns["epoch"])
        for name, figures in self._figures.items():
            figures.frombytes(columns[name].astype(np.float64).tobytes())
        new = {name.removeprefix(METRIC) for name in columns if name.startswith(METRIC)} - self._metrics.keys()
        for name in new:
            self._metrics[name] = array("d", [math.nan]) * self.length
        for name, metric in self._metrics.items():
            values = columns.get(METRIC + name, np.full(count, np.nan))
            # a metric that an epoch does not have is infinite
            metric.frombytes(np.where(np.isfinite(values), values, np.nan).tobytes())
        self._layers |= {
            self.length + n: layers[epoch] for n, epoch in enumerate(columns["epoch"].tolist()) if epoch in layers
        }
        self.length += count

    def json(self) -> Iterator[bytes]:
        """Yield the text of `schemas.Curve`, whose columns these are. There `epoch` is called `epochs`."""
        for n, name in enumerate(Curve.model_fields):
            yield b"%s%s:" % (b"," if n else b"{", orjson.dumps(name))
            if name == "metrics":
                yield b"{"
                for m, (metric, column) in enumerate(sorted(self._metrics.items())):
                    yield b"%s%s:" % (b"," if m else b"", orjson.dumps(metric))
                    yield from _listed(column)
                yield b"}"
            elif name == "layers":
                yield from self._listed_layers()
            elif name == "epochs":
                yield from _listed(array("q", map(int, self._figures["epoch"])))
            else:
                yield from _listed(self._figures[name])
        yield b"}"

    def _listed_layers(self) -> Iterator[bytes]:
        for start in range(0, self.length, ROWS_AT_ONCE) or [0]:
            end = min(start + ROWS_AT_ONCE, self.length)
            yield _inner([self._layers.get(n) for n in range(start, end)], is_first=start == 0)
        yield b"]"

    def csv(self) -> Iterator[bytes]:
        """Yield the text as CSV: a column for each figure, then one for each metric."""
        metrics = sorted(self._metrics)
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow([*FIGURES, *metrics])
        columns = [*self._figures.values(), *(self._metrics[name] for name in metrics)]
        for start in range(0, self.length, ROWS_AT_ONCE):
            parts = [map(_cell, column[start : start + ROWS_AT_ONCE]) for column in columns]
            # the epoch is a whole number
            parts[0] = map(int, columns[0][start : start + ROWS_AT_ONCE])
            writer.writerows(zip(*parts, strict=True))
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
        yield text.getvalue().encode()


def read_columns(database: Database, job_id: str, *, after_epoch: int, last_epoch: int) -> CurveColumns:
    """Return the columns of a curve, read some epochs at a time, each time in a short transaction."""
    whole = CurveColumns()
    for after in range(after_epoch, last_epoch, ROWS_AT_ONCE):
        with database.reading() as session:
            last = min(after + ROWS_AT_ONCE, last_epoch)
            columns = read_level(session, job_id, 0, after_epoch=after, last_epoch=last)
            whole.add(columns, read_layers(session, job_id, columns))
    return whole


def _cell(value: float) -> float | None:
    return None if math.isnan(value) else value


def _listed(column: "array[Any]") -> Iterator[bytes]:
    """Yield a column as a JSON list; NaN becomes null."""
    for start in range(0, len(column), ROWS_AT_ONCE) or [0]:
        yield _inner(column[start : start + ROWS_AT_ONCE].tolist(), is_first=start == 0)
    yield b"]"


def _inner(values: list[Any], *, is_first: bool) -> bytes:
    """Return the values as a part of a longer list, whose bracket opens before the first part."""
    return (b"[" if is_first else b",") + orjson.dumps(values)[1:-1]
