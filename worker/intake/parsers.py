"""Parses the files of clients. Each function runs in a sandbox, and returns what the API needs as bytes."""

import json
from collections.abc import Sequence
from typing import Literal, NamedTuple, assert_never

import pyarrow as pa

from worker.data.arrow_streams import write_arrow_stream
from worker.data.formats import UNPACKED_BYTES, read_file
from worker.data.pieces import Pieces, cut_csv, write_pieces
from worker.data.profiles import TableProfile, profile_table
from worker.data.readers import ARROW, CSV, read_header, read_pieces, read_table
from worker.data.reading import READING, UNDECLARED, Declared, Reading
from worker.data.remarks import table_remarks
from worker.errors import DataError
from worker.networks.safetensors import from_safetensors
from worker.networks.trained import Trained, to_columns
from worker.records.weights import NetworkColumns, to_bytes
from worker.sandbox import Sandbox
from worker.settings import Limits
from worker.specs.imports import Description

NetworkFormat = Literal["safetensors", "onnx"]
PRELOADED = (__name__, "worker.networks.onnx.reader")


class Parsed(NamedTuple):
    """What is known about a table once all of it was read.

    pieces: None if it can only be read as a whole.
    media_type, content: as it is stored. The content is None if that is the file itself.
    """

    profile: TableProfile
    pieces: Pieces | None
    media_type: str
    content: bytes | None


def parse_table(
    sandbox: Sandbox, content: bytes, limits: Limits, declared: Declared = UNDECLARED, encoding: str | None = None
) -> Parsed:
    """Return what is in an uploaded file. Raises DataError, and UnsafeFileError.

    encoding: of its text, if the client has named it.
    """
    profile, pieces, media_type, stored = sandbox.run(_table, content, limits, declared, encoding)
    known = TableProfile.model_validate_json(profile)
    return Parsed(known, Pieces.unpack(pieces) if pieces else None, media_type.decode(), stored or None)


def _table(content: bytes, limits: Limits, declared: Declared, encoding: str | None = None) -> list[bytes]:
    file, reading = read_file(content, limits, declared, encoding), declared.reading
    table = file.table
    unnamed: tuple[int, ...] = ()
    pieces: Pieces | None
    if table is None:
        table = read_table(file.content, CSV, limits, reading=reading)
        header = read_header(file.content, limits, reading.delimiter)
        unnamed = tuple(header.unnamed)
    for name in declared.text:
        if name not in table.column_names:
            raise DataError("the table has no such column, to be read as text", column=name)
    if file.table is None and reading == READING:
        stored, kind, pieces = file.content, CSV, cut_csv(file.content, header.delimiter, table)
    else:
        # as it was read: the same bytes may be read otherwise, and are another table then
        (stored, pieces), kind = write_pieces(table), ARROW
        if len(stored) > UNPACKED_BYTES:
            raise DataError(f"the table takes {len(stored)} bytes unpacked, more than {UNPACKED_BYTES}")
    profile = profile_table(table, limits, reading).model_copy(
        update={"unnamed": unnamed, "source": file.media_type, "encoding": file.encoding}
    )
    known = profile.model_copy(update={"remarks": table_remarks(profile)}).model_dump_json().encode()
    packed = b"" if pieces is None else pieces.pack()
    return [known, packed, kind.encode(), b"" if stored == content else stored]


def parse_rows(
    sandbox: Sandbox,
    content: bytes,
    kind: str,
    limits: Limits,
    *,
    rows: Sequence[int],
    reading: Reading,
    types: Sequence[str] | None = None,
) -> pa.Table:
    """Return these rows of a stored table, in this order. Raises DataError, and UnsafeFileError.

    kind: its media type.
    types: of the columns, if the content is a part of a table; None if it is a whole one.
    """
    (table,) = sandbox.run(_rows, content, kind, limits, list(rows), (reading, types))
    return pa.ipc.open_stream(pa.py_buffer(table)).read_all()


def _rows(
    content: bytes, media_type: str, limits: Limits, rows: list[int], known: tuple[Reading, Sequence[str] | None]
) -> list[bytes]:
    reading, types = known
    if types is None:
        table = read_table(content, media_type, limits, reading=reading)
    else:
        table = read_pieces(content, media_type, types, limits, reading)
    return [write_arrow_stream(table.take(rows))]


def parse_network(
    sandbox: Sandbox, content: bytes, kind: NetworkFormat, description: Description | None, limits: Limits
) -> tuple[NetworkColumns, bytes]:
    """Return the network of a file as the record stores it, and its arrays as a weights file.

    Raises WeightsFileError, SpecError for a description that does not fit, and UnsafeFileError.
    """
    columns, weights = sandbox.run(_network, content, kind, description, limits)
    return json.loads(columns), weights


def _network(content: bytes, kind: NetworkFormat, description: Description | None, limits: Limits) -> list[bytes]:
    trained = _read(content, kind, description, limits)
    columns = to_columns(trained.layers, trained.encoders)
    return [json.dumps(columns).encode(), to_bytes(dict(trained.arrays))]


def _read(content: bytes, kind: NetworkFormat, description: Description | None, limits: Limits) -> Trained:
    match kind:
        case "safetensors":
            return from_safetensors(content, description, limits)
        case "onnx":
            # imported late: onnx takes a seventh of a second, and most processes never import
            from worker.networks.onnx.reader import from_onnx

            return from_onnx(content, description, limits)
        case _:
            assert_never(kind)
