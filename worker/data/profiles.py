"""Profiles of a table's columns. They are computed once at upload, and are enough to plan a job without the table."""

import pyarrow as pa
import pyarrow.compute as pc

from worker.data.cells import LEADING_ZERO, NUMBER, SHOWN
from worker.data.looks import Look, look_of
from worker.data.reading import FORMER, READING, Reading, form_of_field
from worker.errors import DataError
from worker.settings import Limits
from worker.specs.base import Spec

CATEGORIES_BYTES = 256 * 1024
"The most text that the categories of one column have together."
TABLE_CATEGORIES_BYTES = 8 * 2**20
IDENTIFIER_ROWS = 20
"Fewer rows may each have a value of their own by chance."
TEXT_BYTES = 50
"What a text takes beside its letters."


class NotNumbers(Spec):
    """Why a column is text though some of its cells are numbers.

    count: how many cells are no numbers; 0 if all of them are, with zeros before them that may matter.
    row, cell: the first of these cells, or the first cell with such a zero.
    """

    count: int
    row: int
    cell: str


class ColumnProfile(Spec):
    """What is known about one column.

    type: `numeric` or `categorical`.
    missing: how many cells are missing.
    minimum, maximum, mean: of the values; None for text, and for a column without values.
    distinct: how many distinct values there are.
    categories: the distinct values as text, in order; None if there are too many, if they are too long, or if the
        column has fractions.
    counts: how many rows each of the categories has; None if they are, or if the profile is older than this field.
    not_numbers: why it is text; None if it is not, or has no number in it.
    look: what each of its cells looks like if it is text; None if they look like nothing that could be read.
    """

    name: str
    type: str
    missing: int
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    distinct: int
    categories: tuple[str, ...] | None = None
    counts: tuple[int, ...] | None = None
    not_numbers: NotNumbers | None = None
    look: Look | None = None


class Remark(Spec):
    """What a person should know about a table before training on it.

    column: None if it is about the whole table.
    code: a short name for programs.
    """

    column: str | None
    code: str
    detail: str


class TableProfile(Spec):
    """What is known about a table.

    reading: how its cells were read, and are to be read again.
    unnamed: the positions in the file of the columns without a name, which were left out.
    source: the media type of the file that it came from; None if that is how it is stored.
    encoding: of the file's text, if that was not UTF-8.
    remarks: of `worker.data.remarks`, so that a list of tables need not find them again.
    """

    rows: int
    columns: tuple[ColumnProfile, ...]
    reading: Reading = FORMER
    unnamed: tuple[int, ...] = ()
    source: str | None = None
    encoding: str | None = None
    remarks: tuple[Remark, ...] = ()

    def column(self, name: str) -> ColumnProfile | None:
        """Return the column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)


def profile_table(table: pa.Table, limits: Limits, reading: Reading = READING) -> TableProfile:
    """Return the profile of a table that `read_table` has read, and with which reading.

    Raises DataError if its categories would be too large for every answer that shows them. Numbers that could be
    categories are left out first, those with the most distinct values before the others.
    """
    columns = zip(table.column_names, table.columns, strict=True)
    profiles = {name: _profile(name, column, limits) for name, column in columns}
    forms = {known.name: form for known in table.schema if (form := form_of_field(known)) is not None}
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
            profiles[profile.name] = profile.model_copy(update={"categories": None, "counts": None})
    return TableProfile(
        rows=table.num_rows, columns=tuple(profiles.values()), reading=reading.model_copy(update={"forms": forms})
    )


def is_identifier(column: ColumnProfile, rows: int) -> bool:
    """Return whether the column has another value in each row, as a number or a name of the row has."""
    if column.distinct < rows or rows < IDENTIFIER_ROWS:
        return False
    if column.type == "categorical":
        return True
    lowest, highest = column.minimum, column.maximum
    return lowest is not None and highest is not None and highest - lowest == rows - 1


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
    categories, counts = counted_categories(column) if few else (None, None)
    if categories is not None and sum(map(len, categories)) > CATEGORIES_BYTES:
        # texts of this length are no categories
        categories = counts = None
    return ColumnProfile(
        name=name,
        type="numeric" if numeric else "categorical",
        missing=column.null_count,
        distinct=distinct,
        categories=categories,
        counts=counts,
        not_numbers=None if numeric else _not_numbers(column),
        look=None if numeric else look_of(column),
        **figures,
    )


def _not_numbers(text: pa.ChunkedArray) -> NotNumbers | None:
    is_number = pc.match_substring_regex(text, f"^(?:{NUMBER.pattern})$")
    numbers = pc.sum(is_number).as_py() or 0
    if not numbers:
        return None
    count = len(text) - text.null_count - numbers
    wanted = pc.invert(is_number) if count else pc.match_substring_regex(text, LEADING_ZERO)
    row = pc.index(wanted, pa.scalar(value=True)).as_py()
    return None if row < 0 else NotNumbers(count=count, row=row, cell=text[row].as_py()[:SHOWN])


def categories_of(column: pa.ChunkedArray) -> tuple[str, ...]:
    """Return the distinct values as text: numbers in numeric order, text in code-point order."""
    return counted_categories(column)[0]


def counted_categories(column: pa.ChunkedArray) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the distinct values as text, numbers in numeric order, text in code-point order, and how often each is."""
    values, counts = pc.value_counts(pc.drop_null(column)).flatten()
    order = pc.sort_indices(values)
    return tuple(values.take(order).cast(pa.string()).to_pylist()), tuple(counts.take(order).to_pylist())
