"""Encoders: what is learned about each column of the training part, and how a table becomes a matrix with them.

A numeric column is imputed with its median and standardised. A categorical column becomes one indicator for each
category, or the category's number if an embedding takes it. Encoders are fitted on the training part only, and stored
as JSON beside the weights.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from worker.data.cells import MISSING, Lookup, map_distinct, numbered
from worker.data.roles import InputColumn
from worker.data.times import Form
from worker.errors import DataError
from worker.specs.base import Spec

Matrix = NDArray[np.floating[Any]]
"(rows, width), float32 or float64 like the network."


class NumericCode(Spec):
    """Encodes a number as (value - mean) / scale. A missing cell counts as the median. A constant column has scale 1.

    minimum, maximum: the smallest and largest value in the training part. None if it had no value, or if the weights
        are older than these fields.
    form: how the column wrote its numbers, if not plainly: such text is read when it is asked.
    log: whether sign(value) log(1 + |value|) is taken first; mean and scale are of that.
    smooth_clip: whether the result x becomes x / sqrt(1 + (x/3)^2).
    quantiles, shares: if there are any, the number becomes its share instead, by linear interpolation between these.
    bins: the edges of the bins of its piecewise-linear encoding, ascending.
    indicator: whether a missing cell has an input of its own.
    cycles: the periods of a time in seconds; each becomes the sine and the cosine of the time's place in it.
    """

    type: Literal["numeric"] = "numeric"
    name: str
    median: float
    mean: float
    scale: float
    minimum: float | None = None
    maximum: float | None = None
    form: Form | None = None
    log: bool = False
    smooth_clip: bool = False
    quantiles: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    bins: tuple[float, ...] = ()
    cycles: tuple[float, ...] = ()
    indicator: bool = False

    @property
    def width(self) -> int:
        """How many columns of the matrix this column becomes: itself, its bins, its cycles, and its indicator."""
        return 1 + max(0, len(self.bins) - 1) + 2 * len(self.cycles) + self.indicator


class CategoricalCode(Spec):
    """Encodes a category as one indicator for each category.

    categories: the known ones, in the order of their numbers.
    missing: whether missing cells are a category of their own, behind these. They are if training had any.
    most_frequent: the category that a missing cell counts as if `missing` is False.
    unknown: whether a category that training never saw is refused, or encoded as zeros.
    embedded: the column becomes the category's number instead, for an embedding. The number after the last is for
        categories that training never saw.
    rare: the known ones that share the last number, as they were too rare for one of their own.
    """

    type: Literal["categorical"] = "categorical"
    name: str
    categories: tuple[str, ...]
    missing: bool
    most_frequent: str | None
    unknown: Literal["refuse", "pool"] = "refuse"
    embedded: bool = False
    rare: tuple[str, ...] = ()

    @property
    def category_count(self) -> int:
        """How many categories are told apart, counting missing cells if they are one, and rare ones as one."""
        return len(self.categories) + self.missing + bool(self.rare)

    @property
    def numbers(self) -> dict[str, int]:
        """The number of each known category."""
        return numbered(self.categories) | dict.fromkeys(self.rare, self.category_count - 1)

    @property
    def width(self) -> int:
        """How many columns of the matrix this column becomes."""
        return 1 if self.embedded else self.category_count


class ClassTarget(Spec):
    type: Literal["class"] = "class"
    name: str
    classes: tuple[str, ...]


class LabelsTarget(Spec):
    """Columns of 0 and 1: each label applies to a row or does not."""

    type: Literal["labels"] = "labels"
    names: tuple[str, ...]


class NumberTarget(Spec):
    """The network learns (value - mean) / scale, so that a target's unit does not set the learning rate."""

    type: Literal["number"] = "number"
    names: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]


Target = ClassTarget | LabelsTarget | NumberTarget
Code = Annotated[NumericCode | CategoricalCode, Field(discriminator="type")]


class Encoders(Spec):
    """How the columns of one job become numbers. The features are in the order of the network's inputs.

    missing: the texts that mean a missing cell. One that is a number means that number, however it is written.
    """

    features: tuple[Code, ...]
    target: Annotated[Target, Field(discriminator="type")]
    missing: tuple[str, ...] = MISSING

    @property
    def columns(self) -> tuple[InputColumn, ...]:
        return tuple(
            InputColumn(code.name, code.width, None)
            if isinstance(code, NumericCode)
            else InputColumn(code.name, code.width, code.category_count)
            for code in self.features
        )

    @property
    def width(self) -> int:
        return sum(column.width for column in self.columns)


def floats_of(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return the column as float64, missing cells as NaN. An integer past 2^53 becomes the nearest float."""
    floats: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    return floats


def numbers_of(table: pa.Table, names: Sequence[str]) -> NDArray[np.float64]:
    """Return numeric columns as (rows, columns)."""
    return np.stack([floats_of(table[name]) for name in names], axis=1)


def encode_targets(table: pa.Table, target: Target) -> NDArray[Any]:
    """Return the encoded targets of a table.

    For a category these are class numbers, (rows,) int64; otherwise labels or standardised numbers, (rows, outputs)
    float64. Raises DataError for a class that is missing or unknown.
    """
    if isinstance(target, ClassTarget):
        found = map_distinct(table[target.name], Lookup(numbered(target.classes)).find, pa.int64())
        if found.null_count:
            row = pc.index(found.is_null(), pa.scalar(value=True)).as_py()
            raise DataError("is missing, or a class that training never saw", row=row, column=target.name)
        labels: NDArray[np.int64] = found.to_numpy()
        return labels
    values = numbers_of(table, target.names)
    return values if isinstance(target, LabelsTarget) else (values - target.means) / target.scales
