"""Profiles of a table's columns. They are computed once at upload, and are enough to plan a job without the table."""

import pyarrow as pa
import pyarrow.compute as pc

from worker.errors import DataError
from worker.settings import Limits
from worker.specs.base import Spec

CATEGORIES_BYTES = 256 * 1024
"The most text that the categories of one column have together."
TABLE_CATEGORIES_BYTES = 8 * 2**20
TEXT_BYTES = 50
"What a text takes beside its letters."


class ColumnProfile(Spec):
    """What is known about one column.

    type: `numeric` or `categorical`.
    missing: how many cells are missing.
    minimum, maximum, mean: of the values; None for text, and for a column without values.
    distinct: how many distinct values there are.
    categories: the distinct values as text, in order; None if there are too many, if they are too long, or if the
        column has fractions.
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
    """Return the profile of a table that `read_table` has read.

    Raises DataError if its categories would be too large for every answer that shows them. Numbers that could be
    categories are left out first, those with the most distinct values before the others.
    """
    columns = zip(table.column_names, table.columns, strict=True)
    profiles = {name: _profile(name, column, limits) for name, column in columns}
    total = 0
    for profile in sorted(profiles.values(), key=size_of_categories):
        total += size_of_categories(profile)
        if total > TABLE_CATEGORIES_BYTES and profile.type == "categorical":
            raise DataError(
                f"its categories and those of other columns take more than {TABLE_CATEGORIES_BYTES} bytes: leave "
                "columns of text out that are no categories",
                column=profile.name,
            )
        if total > TABLE_CATEGORIES_BYTES:
            profiles[profile.name] = profile.model_copy(update={"categories": None})
    return TableProfile(rows=table.num_rows, columns=tuple(profiles.values()))


def size_of_categories(profile: ColumnProfile) -> int:
    """Return about how many bytes a column's categories take."""
    return sum(len(category) + TEXT_BYTES for category in profile.categories or ())


def _profile(name: str, column: pa.ChunkedArray, limits: Limits) -> ColumnProfile:
    distinct = pc.count_distinct(column, mode="only_valid").as_py()
    numeric = not pa.types.is_string(column.type)
    few = distinct <= limits.categories and not pa.types.is_floating(column.type)
    figures = {}
    if numeric and column.null_count < len(column):
        bounds = pc.min_max(column).as_py()
        figures = {"minimum": bounds["min"], "maximum": bounds["max"], "mean": pc.mean(column).as_py()}
    categories = categories_of(column) if few else None
    if categories is not None and sum(map(len, categories)) > CATEGORIES_BYTES:
        # texts of this length are no categories
        categories = None
    return ColumnProfile(
        name=name,
        type="numeric" if numeric else "categorical",
        missing=column.null_count,
        distinct=distinct,
        categories=categories,
        **figures,
    )


def categories_of(column: pa.ChunkedArray) -> tuple[str, ...]:
    """Return the distinct values as text: numbers in numeric order, text in code-point order."""
    values = pc.drop_null(pc.unique(column))
    return tuple(values.take(pc.sort_indices(values)).cast(pa.string()).to_pylist())
