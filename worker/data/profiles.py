"""Profiles of a table's columns. They are computed once at upload, and are enough to plan a job without the table."""

import pyarrow as pa
import pyarrow.compute as pc

from worker.settings import Limits
from worker.specs.base import Spec


class ColumnProfile(Spec):
    """What is known about one column.

    type: `numeric` or `categorical`.
    missing: how many cells are missing.
    minimum, maximum, mean: of the values; None for text, and for a column without values.
    distinct: how many distinct values there are.
    categories: the distinct values as text, in order; None if there are too many, or if the column has fractions.
    """

    name: str
    type: str
    missing: int
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    distinct: int
    categories: tuple[str, ...] | None = None


class TableProfile(Spec):
    rows: int
    columns: tuple[ColumnProfile, ...]

    def column(self, name: str) -> ColumnProfile | None:
        """Return the column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)


def profile_table(table: pa.Table, limits: Limits) -> TableProfile:
    """Return the profile of a table that `read_table` has read."""
    columns = zip(table.column_names, table.columns, strict=True)
    return TableProfile(rows=table.num_rows, columns=tuple(_profile(name, column, limits) for name, column in columns))


def _profile(name: str, column: pa.ChunkedArray, limits: Limits) -> ColumnProfile:
    distinct = pc.count_distinct(column, mode="only_valid").as_py()
    numeric = not pa.types.is_string(column.type)
    few = distinct <= limits.categories and not pa.types.is_floating(column.type)
    figures = {}
    if numeric and column.null_count < len(column):
        bounds = pc.min_max(column).as_py()
        figures = {"minimum": bounds["min"], "maximum": bounds["max"], "mean": pc.mean(column).as_py()}
    return ColumnProfile(
        name=name,
        type="numeric" if numeric else "categorical",
        missing=column.null_count,
        distinct=distinct,
        categories=categories_of(column) if few else None,
        **figures,
    )


def categories_of(column: pa.ChunkedArray) -> tuple[str, ...]:
    """Return the distinct values as text: numbers in numeric order, text in code-point order."""
    values = pc.drop_null(pc.unique(column))
    return tuple(values.take(pc.sort_indices(values)).cast(pa.string()).to_pylist())
