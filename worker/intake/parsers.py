"""Parses the files of clients. Each function runs in a sandbox, and returns what the API needs as bytes."""

import json
from collections.abc import Sequence
from typing import Literal, NamedTuple, assert_never

import pyarrow as pa

from worker.data.arrow_streams import write_arrow_stream
from worker.data.cells import Reading
from worker.data.pieces import Pieces, cut_csv
from worker.data.profiles import TableProfile, profile_table
from worker.data.readers import CSV, read_header, read_pieces, read_table
from worker.data.remarks import table_remarks
from worker.networks.safetensors import from_safetensors
from worker.networks.trained import Trained, to_columns
from worker.records.weights import NetworkColumns, to_bytes
from worker.sandbox import Sandbox
from worker.settings import Limits
from worker.specs.imports import Description

NetworkFormat = Literal["safetensors", "onnx"]
PRELOADED = (__name__, "worker.networks.onnx.reader")


class Parsed(NamedTuple):
    """What is known about a table once all of it was read. pieces: None if it can only be read as a whole."""

    profile: TableProfile
    pieces: Pieces | None


def parse_table(sandbox: Sandbox, content: bytes, media_type: str, limits: Limits) -> Parsed:
    """Return the profile and the pieces of an uploaded table. Raises DataError, and UnsafeFileError."""
    profile, *pieces = sandbox.run(_table, content, media_type, limits)
    return Parsed(TableProfile.model_validate_json(profile), Pieces.unpack(pieces[0]) if pieces else None)


def _table(content: bytes, media_type: str, limits: Limits) -> list[bytes]:
    table = read_table(content, media_type, limits)
    profile, pieces = profile_table(table, limits), None
    if media_type == CSV:
        header = read_header(content, limits)
        profile = profile.model_copy(update={"unnamed": tuple(header.unnamed)})
        pieces = cut_csv(content, header.delimiter, table)
    known = profile.model_copy(update={"remarks": table_remarks(profile)}).model_dump_json().encode()
    return [known] if pieces is None else [known, pieces.pack()]


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
