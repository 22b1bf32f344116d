"""Bytes of a file, in any format that people keep tables in -> a table as it is stored: CSV in UTF-8, or Arrow.

The bytes decide what the file is, not its name. Everything here runs in a sandbox: a few bytes may claim, or unpack to,
any amount of memory.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet
from numpy.typing import NDArray

from worker.data.cells import category_texts, present_texts, without_missing
from worker.data.npy import NPY, read_npy
from worker.data.number_forms import declared_form
from worker.data.readers import (
    ARROW,
    CSV,
    PARQUET,
    Named,
    check_names,
    check_texts,
    finite,
    named,
    named_table,
    numbers_of_form,
    whole,
)
from worker.data.reading import UNDECLARED, Declared, Reading
from worker.data.text import as_csv
from worker.data.times import Form, TimeForm, seconds_of, time_form
from worker.errors import DataError
from worker.settings import Limits

JSON_LINES, JSON_LIST, NPZ = "application/x-ndjson", "application/json", "application/x-npz"
LARGEST_INTEGER = 2**63 - 1
UNPACKED_BYTES = 2**27
"""What a packed file may unpack to, and a table may take as it is stored: a little more than may be sent. Both are
in the memory of the process that takes an upload."""
PART_BYTES = 2**20
FAULTS = (pa.ArrowException, OSError, zipfile.BadZipFile, ValueError, KeyError, OverflowError, RecursionError)
COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
MAGICS = {b"PAR1": PARQUET, b"\x93NUMPY": NPY, b"PK\x03\x04": NPZ, b"\xff\xff\xff\xff": ARROW, b"ARROW1": ARROW}
"How a file begins. Sources: the formats' own descriptions; an Arrow stream begins with a continuation marker."
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
JSON_LINE, JSON_ROWS = re.compile(rb"\s*\{\s*[\"}]"), re.compile(rb"\s*\[\s*[{\]]")
INDEX = re.compile(r"__index_level_\d+__")
"The column in which pandas writes the numbers of rows to Parquet."


class Source(NamedTuple):
    """A file as a table is stored.

    media_type: of the file, unpacked.
    encoding: of its text, if that was not UTF-8.
    table: its columns as numbers and text; None if the file is text that is stored as it is.
    content: the text of a CSV in UTF-8; empty for a table.
    """

    media_type: str
    encoding: str | None
    table: pa.Table | None
    content: bytes


def read_file(content: bytes, limits: Limits, declared: Declared = UNDECLARED, encoding: str | None = None) -> Source:
    """Return the table in a file. Raises DataError.

    encoding: of its text, if the client has named it; None to find it out.
    """
    content = _unpacked(content)
    media_type = next((kind for magic, kind in MAGICS.items() if content.startswith(magic)), None) or _kind_of(content)
    if media_type == CSV:
        text, found = _as_utf8(content, encoding)
        return Source(CSV, found, None, as_csv(text, declared, limits))
    try:
        table = READERS[media_type](content, limits)
        # offsets that a file claims may lead outside of it
        table.validate(full=True)
        return Source(media_type, None, _checked(table, limits, declared.reading), b"")
    except FAULTS as error:
        said = str(error).splitlines() or [type(error).__name__]
        raise DataError(f"this is not {media_type} that can be read: {said[0][:200]}") from error


def _checked(table: pa.Table, limits: Limits, reading: Reading) -> pa.Table:
    """Return the columns as numbers and text. Raises DataError."""
    places = [n for n, name in enumerate(table.column_names) if not INDEX.fullmatch(name)]
    if table.num_rows == 0 or not places:
        raise DataError("the table has no rows or no columns")
    if table.num_rows > limits.rows:
        raise DataError(f"the table has {table.num_rows} rows, more than {limits.rows}")
    if len(places) > limits.columns:
        raise DataError(f"the table has more than {limits.columns} columns")
    names = check_names([table.column_names[n] for n in places])
    columns = [_plain(table.column(n), name, reading) for name, n in zip(names, places, strict=True)]
    return named_table(columns, reading)


def _unpacked(content: bytes) -> bytes:
    compression = next((name for magic, name in COMPRESSIONS.items() if content.startswith(magic)), None)
    if compression is None:
        return content
    unpacked = bytearray()
    try:
        with pa.CompressedInputStream(pa.BufferReader(content), compression) as stream:
            while part := stream.read(PART_BYTES):
                unpacked += part
                if len(unpacked) > UNPACKED_BYTES:
                    raise DataError(f"the file unpacks to more than {UNPACKED_BYTES} bytes")
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"the file begins like {compression} and can't be unpacked") from error
    return bytes(unpacked)


def _kind_of(content: bytes) -> str:
    """Return the media type of a text file. The first line of a CSV may begin with a bracket too."""
    if JSON_LINE.match(content):
        return JSON_LINES
    return JSON_LIST if JSON_ROWS.match(content) else CSV


def _as_utf8(content: bytes, named: str | None) -> tuple[bytes, str | None]:
    """Return text in UTF-8, and the encoding that it had if another: by its mark, or Windows-1252."""
    marked = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
    for encoding in (named,) if named else (marked,) if marked else ("utf-8", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError as error:
            fault = error
            continue
        # a mark before UTF-8 is passed over by the reader of CSV
        return (content, None) if encoding in ("utf-8", "utf-8-sig") else (text.encode(), encoding)
    tried = named or marked or "UTF-8, nor Windows-1252"
    raise DataError(f"the text is not {tried}: byte {fault.start}") from fault


def _read_parquet(content: bytes, limits: Limits) -> pa.Table:
    file = pyarrow.parquet.ParquetFile(pa.BufferReader(content))
    if file.metadata.num_rows > limits.rows:
        # before they are unpacked
        raise DataError(f"the table has {file.metadata.num_rows} rows, more than {limits.rows}")
    return file.read()


def _read_arrow(content: bytes, _limits: Limits) -> pa.Table:
    source = pa.BufferReader(content)
    return (
        pa.ipc.open_file(source).read_all() if content.startswith(b"ARROW1") else pa.ipc.open_stream(source).read_all()
    )


def _read_json_lines(content: bytes, _limits: Limits) -> pa.Table:
    options = pyarrow.json.ReadOptions(block_size=max(len(content), 1))

    def read(schema: pa.Schema | None) -> pa.Table:
        parsed = pyarrow.json.ParseOptions(explicit_schema=schema)
        return pyarrow.json.read_json(pa.BufferReader(content), read_options=options, parse_options=parsed)

    table = read(None)
    # Arrow takes text that looks like a time for one, and would write it otherwise
    times = [known.name for known in table.schema if pa.types.is_temporal(known.type)]
    return read(pa.schema([(name, pa.string()) for name in times])).select(table.column_names) if times else table


def _read_json_list(content: bytes, _limits: Limits) -> pa.Table:
    rows = json.loads(content, object_pairs_hook=_members)
    if not all(isinstance(row, dict) for row in rows):
        raise DataError("a JSON file must be a list of objects, or one object on each line")
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise DataError("an object has a member twice")
    return members


def _read_npy(content: bytes, limits: Limits) -> pa.Table:
    values = read_npy(content, limits, cells_limit=limits.rows * limits.columns)
    return pa.table({str(n): values[:, n] for n in range(values.shape[1])})


def _read_npz(content: bytes, limits: Limits) -> pa.Table:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        if sum(member.file_size for member in file.infolist()) > UNPACKED_BYTES:
            raise DataError(f"the file unpacks to more than {UNPACKED_BYTES} bytes")
    columns: dict[str, NDArray[Any]] = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for name, array in arrays.items():
            if array.ndim == 1:
                found = {name: array}
            elif array.ndim == 2 and array.shape[1] <= limits.columns:
                found = {f"{name}_{n}": array[:, n] for n in range(array.shape[1])}
            else:
                raise DataError(f"the array {name[:64]!r} must have one dimension or two")
            if twice := columns.keys() & found.keys():
                raise DataError("two columns have this name", column=min(twice)[:64])
            columns |= found
    return pa.table(columns)


READERS: dict[str, Callable[[bytes, Limits], pa.Table]] = {
    PARQUET: _read_parquet,
    ARROW: _read_arrow,
    JSON_LINES: _read_json_lines,
    JSON_LIST: _read_json_list,
    NPY: _read_npy,
    NPZ: _read_npz,
}
MEDIA_TYPES = (CSV, *READERS)


def _plain(column: pa.ChunkedArray, name: str, reading: Reading) -> Named:
    """Return a typed column as int64, float64 or text. What was written as text stays text. Raises DataError."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind, is_a = column.type, pa.types
    if is_a.is_null(kind) or is_a.is_integer(kind) or is_a.is_floating(kind) or is_a.is_decimal(kind):
        numbers = without_missing(_numbers(column, name), reading.missing)
        return named(name, category_texts(numbers, reading.missing) if name in reading.text else numbers)
    if is_a.is_string(kind) or is_a.is_large_string(kind) or is_a.is_string_view(kind):
        text = column.cast(pa.string())
        check_texts(text, name)
        return _read_text(text, name, reading)
    if is_a.is_boolean(kind):
        return named(name, category_texts(column, reading.missing))
    if is_a.is_date(kind) or is_a.is_timestamp(kind):
        return _times(column, name, reading)
    if is_a.is_time(kind):
        return named(name, column.cast(pa.string()))
    detail = f"has cells of the type {str(kind)[:64]}: a column is of numbers, text, truth values or times"
    raise DataError(detail, column=name)


def _read_text(text: pa.ChunkedArray, name: str, reading: Reading) -> Named:
    """Return a column that was written as text: as times, which these formats or their users write so, or as it is."""
    if name in reading.text:
        return named(name, category_texts(text, reading.missing))
    present = present_texts(text, reading.missing)
    declared = None if reading.declared is None else declared_form(present, reading.declared)
    form: Form | None = declared or time_form(present, reading.dates)
    found = None if form is None else numbers_of_form(present, name, form, reading)
    return found or named(name, category_texts(text, reading.missing))


def _times(column: pa.ChunkedArray, name: str, reading: Reading) -> Named:
    """Return dates and timestamps as seconds since 1970-01-01."""
    if name in reading.text:
        return named(name, column.cast(pa.string()))
    form = TimeForm(order="ymd", mark="-", clock=not pa.types.is_date(column.type))
    return named(name, whole(seconds_of(column)), form)


def _numbers(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    if not pa.types.is_integer(column.type):
        return whole(finite(column.cast(pa.float64()), name))
    if (pc.max(column).as_py() or 0) > LARGEST_INTEGER:
        return column.cast(pa.float64(), safe=False)
    return column.cast(pa.int64())
