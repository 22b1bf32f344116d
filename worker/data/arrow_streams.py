"""Bytes of an Arrow IPC stream <-> a table of numbers and text. Streams that could grow when read are refused."""

import struct
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute
import pyarrow.ipc

from worker.data.readers import check_names
from worker.data.times import seconds_of
from worker.errors import DataError, TableSizeError
from worker.settings import Limits

FAULTS = (pa.ArrowException, OSError, ValueError, struct.error)
# fields of the tables Message and RecordBatch, by their position in the schema: Arrow's format/Message.fbs
HEADER, COMPRESSION = 2, 3


def read_arrow_stream(content: bytes, limits: Limits, *, cells_limit: int) -> pa.Table:
    """Return the stream's columns as text, truth values, integers, or floats without NaN. Raises DataError.

    Only columns of numbers, truth values and strings are accepted. Compression and dictionaries are refused, since a
    few bytes of them may expand to any number of cells.
    cells_limit: the most cells; more are a TableSizeError.
    """
    source = pa.py_buffer(content)
    try:
        _check_messages(source)
        reader = pa.ipc.open_stream(source)
        if len(reader.schema) > limits.columns:
            raise DataError(f"the table has more than {limits.columns} columns")
        names = check_names(reader.schema.names)
        for field in reader.schema:
            _check_type(field)
        table = reader.read_all()
        if table.num_rows > limits.rows:
            raise DataError(f"the table has {table.num_rows} rows, more than {limits.rows}")
        # a column of nulls has no bytes, so its length may be any number
        if table.num_rows * table.num_columns > cells_limit:
            raise TableSizeError(
                f"the table has {table.num_rows * table.num_columns} cells, more than the {cells_limit} read at once"
            )
        table.validate(full=True)
    except FAULTS as error:
        raise DataError("this is not an Arrow IPC stream that can be read safely") from error
    columns = zip(names, table.columns, strict=True)
    return pa.table({name: _plain(column, name) for name, column in columns})


def _check_messages(source: pa.Buffer) -> None:
    for message in pa.ipc.MessageReader.open_stream(source):
        if message.type == "record batch" and _is_compressed(message.metadata.to_pybytes()):
            raise DataError("compressed Arrow streams are not taken")
        if message.type not in ("schema", "record batch"):
            raise DataError("dictionary-encoded columns are not taken: send them as text")


def _is_compressed(metadata: bytes) -> bool:
    """Return whether a record batch is compressed. pyarrow would decompress it without asking, and without a limit.

    This reads only whether a field is present. A FlatBuffers table begins with the distance back to its vtable, which
    has the offset of each field, 0 for an absent one. Arrow has verified the message before this is called.
    Source: the FlatBuffers project, "Internals", Tables.
    """
    (root,) = struct.unpack_from("<I", metadata)
    place = root + _offsets(metadata, root)(HEADER)
    (distance,) = struct.unpack_from("<I", metadata, place)
    return _offsets(metadata, place + distance)(COMPRESSION) != 0


def _offsets(metadata: bytes, table: int) -> Callable[[int], int]:
    """Return a function from a field's position to its offset in bytes from the table's beginning; 0 if absent."""
    (distance,) = struct.unpack_from("<i", metadata, table)
    vtable = table - distance
    (size,) = struct.unpack_from("<H", metadata, vtable)

    def offset(position: int) -> int:
        entry = 4 + 2 * position
        return int(struct.unpack_from("<H", metadata, vtable + entry)[0]) if entry < size else 0

    return offset


def _check_type(field: pa.Field) -> None:
    kind = field.type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return
    flat = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if not (flat or pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise DataError("must be numbers, truth values, times or text", column=field.name[:64])


def _plain(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    if pa.types.is_null(column.type):
        return column.cast(pa.float64())
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        return seconds_of(column)
    if pa.types.is_large_string(column.type):
        return column.cast(pa.string())
    if not pa.types.is_floating(column.type):
        return column
    numbers = column.cast(pa.float64())
    if pa.compute.any(pa.compute.is_inf(numbers)).as_py():
        row = pa.compute.index(pa.compute.is_inf(numbers), pa.scalar(True)).as_py()
        raise DataError("numbers must be finite", row=row, column=name)
    return pa.compute.if_else(pa.compute.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)


def write_arrow_stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())
