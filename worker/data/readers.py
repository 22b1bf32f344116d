"""Bytes of an upload -> a table of numbers (int64, float64) and text, with missing cells as nulls."""

import io
import json
import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from worker.data.cells import LEADING_ZERO, category_texts, plain_numbers, present_texts, without_missing
from worker.data.number_forms import declared_form, form_of, has_some
from worker.data.reading import MISSING_KEY, READING, Reading, field
from worker.data.times import Form, TimeForm, time_form
from worker.errors import DataError, TableSizeError
from worker.settings import Limits
from worker.specs.base import column_name

CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
ARROW = "application/vnd.apache.arrow.stream"

BAR = "|"
DELIMITERS = ",;\t" + BAR
LINE_BYTES_LIMIT = 8 * 2**20
CELL_BYTES_LIMIT = 2**16
NAME_LENGTH_LIMIT = 200
FORMER_LEADING_ZERO = r"^[+-]?0[0-9]"
LARGEST_WHOLE = 2.0**53
"Past it a float has no neighbour at a distance of 1."


def read_table(
    content: bytes,
    media_type: str,
    limits: Limits,
    *,
    reading: Reading = READING,
    text: Collection[str] = (),
) -> pa.Table:
    """Return the table in these bytes. Raises DataError with the row or column at fault.

    A column of a CSV is numeric if every cell is a number or missing; otherwise its cells are categories.
    text: the names of columns to read as text whatever their cells look like, such as a model's categories. Otherwise a
        row could be read differently because of the rows around it.
    """
    table = _read(content, media_type, limits, reading)
    columns = zip(table.column_names, table.columns, strict=True)
    # the other formats store types: a column that was written as text stays text
    typed = media_type != CSV
    return named_table(
        [_plain(column, name, reading, typed=typed, text=name in text) for name, column in columns], reading
    )


def read_cells(content: bytes, limits: Limits, *, cells_limit: int) -> pa.Table:
    """Return the cells of a CSV as they are, as text: the network that is asked knows how its columns are written.

    Raises DataError, and TableSizeError for more than `cells_limit` cells, before any of them is read.
    """
    _check_cells(content, cells_limit)
    table = _read(content, CSV, limits, READING)
    for name, column in zip(table.column_names, table.columns, strict=True):
        check_texts(column, name)
    return table


def _read(content: bytes, media_type: str, limits: Limits, reading: Reading) -> pa.Table:
    table = READERS[media_type](content, limits, reading)
    if table.num_rows == 0:
        raise DataError("the table has no rows")
    if table.num_rows > limits.rows:
        raise DataError(f"the table has {table.num_rows} rows, more than {limits.rows}")
    if media_type == CSV:
        _check_quotes(content, table)
    return table


def read_pieces(
    content: bytes, media_type: str, types: Sequence[str], limits: Limits, reading: Reading = READING
) -> pa.Table:
    """Return a part of a stored table, which was read as a whole before, from its head and some of its pieces.

    types: the Arrow types of the columns in the whole table. This part alone may look like others.
    """
    table = READERS[media_type](content, limits, reading)
    columns = zip(table.column_names, table.columns, types, strict=True)
    if media_type != CSV:
        return pa.table({name: finite(column.cast(kind), name) for name, column, kind in columns})
    forms = reading.forms
    read = {name: _as(kind, cells, reading, forms.get(name)) for name, cells, kind in columns}
    return named_table([named(name, finite(column, name), forms.get(name)) for name, column in read.items()], reading)


def _check_cells(content: bytes, cells_limit: int) -> None:
    """Raise TableSizeError if there are more separators than cells may be. One within quotes counts as well."""
    cells = content.count(b"\n") + max(content.count(mark.encode()) for mark in DELIMITERS)
    if cells > cells_limit:
        raise TableSizeError(f"the table has about {cells} cells, more than the {cells_limit} read at once")


def _read_csv(content: bytes, limits: Limits, reading: Reading) -> pa.Table:
    """Return the columns as text, without those that have no name: a row's number, or what is behind a last comma."""
    names, delimiter, unnamed = read_header(content, limits, reading.delimiter)
    if (nul := content.find(b"\0")) >= 0:
        # neither PostgreSQL nor a spreadsheet can hold it
        raise DataError("a cell has a NUL, which is not text", row=max(0, content.count(b"\n", 0, nul) - 1))
    ragged: list[pyarrow.csv.InvalidRow] = []

    def keep_ragged(row: pyarrow.csv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            # Arrow gives the number of a ragged row only if it uses one thread; it still reads 200 MB/s
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, skip_rows=1, column_names=names, block_size=LINE_BYTES_LIMIT
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, invalid_row_handler=keep_ragged, newlines_in_values=True
            ),
            # read everything as text: if Arrow guessed types, it would rewrite dates and booleans
            convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except pa.ArrowInvalid as error:
        if ragged:
            row = ragged[0]
            # Arrow counts lines from 1, the header included; we count data rows from 0
            place = None if row.number is None else row.number - 2
            raise DataError(f"expected {row.expected_columns} cells, got {row.actual_columns}", row=place) from error
        if "straddling" in str(error):
            raise DataError(f"a row is longer than {LINE_BYTES_LIMIT} bytes; is a quote never closed?") from error
        raise DataError("this is not a table of comma-separated values with a header line") from error
    for position in unnamed:
        # the number of a row is written first
        if position and not pa.compute.all(pa.compute.equal(table[position], "")).as_py():
            raise DataError(f"column {position} has no name")
    return table.select([n for n in range(len(names)) if n not in unnamed])


def _check_quotes(content: bytes, table: pa.Table) -> None:
    """Raise DataError for a quote that is never closed: to Arrow the rest of the file is one valid cell."""
    if content.count(b'"') % 2 == 0 or table.num_rows == 0:
        return
    for name, column in zip(table.column_names, table.columns, strict=True):
        if "\n" in (column[-1].as_py() or ""):
            raise DataError("a quote is never closed", row=table.num_rows - 1, column=name)


class Header(NamedTuple):
    """The first line. unnamed: the positions of the columns that have no name; `names` has others for them."""

    names: list[str]
    delimiter: str
    unnamed: list[int]


def read_header(content: bytes, limits: Limits, delimiter: str | None = None) -> Header:
    """Return the column names and the mark between them. delimiter: None to find it out."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"the text is not UTF-8: byte {error.start}") from error
    line = first_line(content)
    delimiter = delimiter or delimiter_of(line)
    if line.count(delimiter.encode()) >= limits.columns:
        raise DataError(f"the table has more than {limits.columns} columns")
    if not line.strip():
        raise DataError("the first line must have the column names")
    try:
        names = [column_name(cell) for cell in split_line(line, delimiter)]
    except pa.ArrowInvalid as error:
        raise DataError("the first line can't be read as column names") from error
    named = check_names([name for name in names if name])
    if not named:
        raise DataError("the first line must have the column names")
    unnamed = [n for n, name in enumerate(names) if not name]
    # no name has a NUL
    return Header([name or f"\0{n}" for n, name in enumerate(names)], delimiter, unnamed)


def first_line(content: bytes) -> bytes:
    return content[:LINE_BYTES_LIMIT].removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].rstrip(b"\r")


def delimiter_of(line: bytes) -> str:
    """Return the mark that a line has most of, outside of quotes."""
    unquoted = re.sub(rb'"[^"]*"', b"", line)
    # a bar may be a letter of a name; max takes the first of the most frequent
    usual = max(DELIMITERS[:-1], key=lambda mark: unquoted.count(mark.encode()))
    return usual if usual.encode() in unquoted or BAR.encode() not in unquoted else BAR


def split_line(line: bytes, delimiter: str) -> list[str]:
    """Return the cells of a line. Raises ArrowInvalid."""
    row = pyarrow.csv.read_csv(
        io.BytesIO(line + b"\n"),
        read_options=pyarrow.csv.ReadOptions(autogenerate_column_names=True),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
        convert_options=pyarrow.csv.ConvertOptions(default_column_type=pa.string()),
    )
    return [str(column[0].as_py() or "") for column in row.columns]


def check_names(names: list[str]) -> list[str]:
    """Return the names in Unicode's composed form.

    Raises DataError for a name that is empty, repeated, too long or unprintable.
    """
    names = [column_name(name) for name in names]
    for position, name in enumerate(names):
        if not name:
            raise DataError(f"column {position} has no name")
        if len(name) > NAME_LENGTH_LIMIT or not name.isprintable():
            raise DataError(f"the name of column {position} must be at most {NAME_LENGTH_LIMIT} printable characters")
        if names.index(name) != position:
            raise DataError("two columns have this name", column=name)
    return names


def _read_parquet(content: bytes, _limits: Limits, _reading: Reading) -> pa.Table:
    """Return the inline rows of a job that was submitted before they were written as Arrow streams."""
    return pyarrow.parquet.read_table(pa.BufferReader(content))


def _read_arrow(content: bytes, _limits: Limits, _reading: Reading) -> pa.Table:
    """Return a table that we wrote ourselves for a job with inline rows. Uploads are CSV."""
    return pa.ipc.open_stream(pa.py_buffer(content)).read_all().combine_chunks()


Named = tuple[pa.Field, pa.ChunkedArray]


def named(name: str, column: pa.ChunkedArray, form: Form | None = None) -> Named:
    return field(name, column.type, form), column


def named_table(columns: list[Named], reading: Reading) -> pa.Table:
    metadata = None if reading.missing == READING.missing else {MISSING_KEY: json.dumps(reading.missing)}
    return pa.table([column for _, column in columns], schema=pa.schema([known for known, _ in columns], metadata))


def _plain(column: pa.ChunkedArray, name: str, reading: Reading, *, typed: bool, text: bool) -> Named:
    """Return the column as int64, float64 or text.

    typed: whether its format stores types: a column that was written as text stays text.
    text: whether its cells are categories, whatever they look like.
    """
    form = reading.forms.get(name)
    if pa.types.is_integer(column.type):
        return named(name, column.cast(pa.int64()), form)
    if pa.types.is_floating(column.type):
        return named(name, finite(column.cast(pa.float64()), name), form)
    cells = column.cast(pa.string())
    check_texts(cells, name)
    if typed or (text and reading.cleaned):
        # a network's categories are found by cells as they are: those of an older one were not cleaned
        return named(name, cells)
    if not reading.cleaned:
        former = _former(cells, reading)
        numbers = None if text else _as_numbers(former, FORMER_LEADING_ZERO)
        return named(name, former if numbers is None else finite(numbers, name))
    return _read_cells(cells, name, reading)


def _read_cells(cells: pa.ChunkedArray, name: str, reading: Reading) -> Named:
    """Return a column of a CSV as numbers if each cell is one, or missing; else as categories."""
    if name in reading.text:
        return named(name, category_texts(cells, reading.missing))
    present = present_texts(cells, reading.missing)
    form = reading.forms.get(name) or (reading.declared and declared_form(present, reading.declared))
    # 1.500 among cells of the declared form could be either, though it is a plain number too
    numbers = None if form or has_some(present, reading.declared) else _as_numbers(present)
    if numbers is not None:
        return named(name, whole(without_missing(finite(numbers, name), reading.missing)))
    if form is None and reading.finds_forms:
        form = form_of(present) or time_form(present, reading.dates)
    found = None if form is None else numbers_of_form(present, name, form, reading)
    return found or named(name, category_texts(cells, reading.missing))


def numbers_of_form(present: pa.ChunkedArray, name: str, form: Form, reading: Reading) -> Named | None:
    """Return a column of trimmed text, all of which is written in this form, as numbers."""
    numbers = _as_numbers(plain_numbers(present, form.pattern))
    if numbers is None:
        return None
    # a number that means a missing cell is no moment
    missing = () if isinstance(form, TimeForm) else reading.missing
    return named(name, whole(without_missing(finite(numbers, name), missing)), form)


def _as(kind: str, cells: pa.ChunkedArray, reading: Reading, form: Form | None) -> pa.ChunkedArray:
    """Return cells of a CSV as the type that the whole column has."""
    if not reading.cleaned:
        return _former(cells, reading).cast(kind)
    if kind == "string":
        return category_texts(cells, reading.missing)
    present = present_texts(cells, reading.missing)
    if form is not None:
        present = plain_numbers(present, form.pattern)
    try:
        return present.cast(kind)
    except pa.ArrowInvalid:
        # 1.0, in a column of whole numbers
        return present.cast(pa.float64()).cast(kind)


def _former(cells: pa.ChunkedArray, reading: Reading) -> pa.ChunkedArray:
    missing = pa.compute.is_in(cells, pa.array(reading.missing, pa.string()))
    return pa.compute.if_else(missing, pa.scalar(None, pa.string()), cells)


def _as_numbers(text: pa.ChunkedArray, leading_zero: str = LEADING_ZERO) -> pa.ChunkedArray | None:
    """Return the cells as numbers; None if one is not a number, such as 1_000 or 1,5, or 007: its zeros may matter."""
    if pa.compute.any(pa.compute.match_substring_regex(text, leading_zero)).as_py():
        return None
    for kind in (pa.int64(), pa.float64()):
        try:
            numbers = text.cast(kind)
        except pa.ArrowInvalid:
            continue
        if pa.types.is_floating(kind) and pa.compute.any(pa.compute.is_nan(numbers)).as_py():
            # nAn, which is none of the spellings of a missing cell
            return None
        # a column without any value becomes numeric: it is imputed with 0 and scaled by 1
        return numbers.cast(pa.float64()) if numbers.null_count == len(numbers) else numbers
    return None


def whole(numbers: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return numbers without a fraction as integers, so that they can be categories: 1.0 is the category 1."""
    if not pa.types.is_floating(numbers.type) or numbers.null_count == len(numbers):
        return numbers
    bounds = pa.compute.min_max(numbers).as_py()
    if max(-bounds["min"], bounds["max"]) >= LARGEST_WHOLE:
        return numbers
    is_whole = pa.compute.equal(numbers, pa.compute.round(numbers))
    return numbers.cast(pa.int64()) if pa.compute.all(is_whole).as_py() else numbers


def finite(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return floats without NaN, which is a missing cell. Raises DataError for a number that is not finite."""
    if not pa.types.is_floating(values.type):
        return values
    infinite = pa.compute.is_inf(values)
    if pa.compute.any(infinite).as_py():
        raise DataError("numbers must be finite", row=pa.compute.index(infinite, pa.scalar(True)).as_py(), column=name)
    return pa.compute.if_else(pa.compute.is_nan(values), pa.scalar(None, pa.float64()), values)


def check_texts(text: pa.ChunkedArray, name: str) -> None:
    """Raise DataError for a cell that is too long, or has a NUL."""
    row = pa.compute.index(pa.compute.match_substring(text, "\0"), pa.scalar(True)).as_py()
    if row >= 0:
        raise DataError("a cell has a NUL, which is not text", row=row, column=name)
    lengths = pa.compute.binary_length(text)
    if (pa.compute.max(lengths).as_py() or 0) > CELL_BYTES_LIMIT:
        row = pa.compute.index(pa.compute.greater(lengths, CELL_BYTES_LIMIT), pa.scalar(True)).as_py()
        detail = f"a cell is longer than {CELL_BYTES_LIMIT} bytes; is a quote never closed?"
        raise DataError(detail, row=row, column=name)


READERS: dict[str, Callable[[bytes, Limits, Reading], pa.Table]] = {
    CSV: _read_csv,
    PARQUET: _read_parquet,
    ARROW: _read_arrow,
}
