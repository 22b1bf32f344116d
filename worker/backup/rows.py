"""Rows of any table as Arrow files: the same from either database, and back into either."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
    select,
)
from sqlalchemy.types import TypeEngine

from worker.records.clock import Instant
from worker.records.tables import Big, Json

Row = dict[str, Any]

BATCH_BYTES = 8 * 2**20
BATCH_ROWS = 10_000
FETCHED_ROWS = 100
FETCHED_CHUNKS = 4
"Rows read at once from a table with bytes, each at most 4 MiB."
COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")


@dataclass(frozen=True)
class Kind:
    """One kind of column. column: its types in the tables. sql: the type by which its values are written to either
    database. pack, unpack: from a value of the database to one of Arrow, and back; neither is called with None."""

    column: type[TypeEngine[Any]]
    arrow: pa.DataType
    sql: TypeEngine[Any]
    pack: Callable[[Any], Any] = lambda value: value
    unpack: Callable[[Any], Any] = lambda value: value


KINDS = (
    Kind(Instant, pa.timestamp("us", tz="UTC"), Instant(), unpack=lambda value: value.astimezone(UTC)),
    Kind(JSON, pa.json_(), Json, json.dumps, json.loads),
    Kind(LargeBinary, pa.binary(), LargeBinary()),
    Kind(Boolean, pa.bool_(), Boolean()),
    Kind(Integer, pa.int64(), Big),
    Kind(Float, pa.float64(), Float(53)),
    Kind(String, pa.string(), Text()),
)


def write_rows(connection: Connection, table: Table, path: Path) -> int:
    """Write every row of the table to a new file; return how many there are."""
    kinds = {column.name: _kind_of(column) for column in table.columns}
    schema = pa.schema([pa.field(name, kind.arrow) for name, kind in kinds.items()])
    count = 0
    with path.open("xb") as file, pa.ipc.new_stream(file, schema, options=COMPRESSED) as writer:
        packed = (
            {name: None if row[name] is None else kind.pack(row[name]) for name, kind in kinds.items()}
            for row in read_rows(connection, table)
        )
        for rows in _batches(packed):
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
            count += len(rows)
    return count


def read_rows(connection: Connection, table: Table) -> Iterator[Row]:
    """Yield the rows of the table as values of Python, a few at a time from the database."""
    has_bytes = any(isinstance(column.type, LargeBinary) for column in table.columns)
    fetched = FETCHED_CHUNKS if has_bytes else FETCHED_ROWS
    found = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=fetched)
    for row in connection.execute(found).mappings():
        yield dict(row)


def insert_rows(connection: Connection, name: str, path: Path) -> bool:
    """Insert the rows of a file into the table of this name; return whether the table then holds just these rows."""
    digest = Digest(connection.dialect.name)
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
        kinds = {field.name: next(kind for kind in KINDS if kind.arrow == field.type) for field in reader.schema}
        table = Table(name, MetaData(), *[Column(column, kind.sql) for column, kind in kinds.items()])
        for batch in reader:
            rows = [
                {column: None if row[column] is None else kind.unpack(row[column]) for column, kind in kinds.items()}
                for row in batch.to_pylist()
            ]
            if rows:
                connection.execute(insert(table), rows)
            for row in rows:
                digest.add(row)
    held = Digest(connection.dialect.name)
    for row in read_rows(connection, table):
        held.add(row)
    return held.value == digest.value


class Digest:
    """A number by which two sets of rows are compared, in whatever order they come.

    dialect: the database that the rows must fit in. SQLite keeps milliseconds of an instant, no negative zero and no
    NaN, so these are not compared there.
    """

    def __init__(self, dialect: str) -> None:
        self._is_sqlite = dialect == "sqlite"
        self.value = 0

    def add(self, row: Row) -> None:
        values = sorted((name, self._comparable(value)) for name, value in row.items())
        one = hashlib.sha256(repr(values).encode()).digest()
        self.value = (self.value + int.from_bytes(one)) % 2**256

    def _comparable(self, value: Any) -> str:
        if isinstance(value, bytes):
            return hashlib.sha256(value).hexdigest()
        if isinstance(value, datetime) and self._is_sqlite:
            value = value.replace(microsecond=value.microsecond // 1000 * 1000)
        if isinstance(value, float) and self._is_sqlite:
            value = None if math.isnan(value) else value + 0.0
        return repr(value)


def _kind_of(column: Column[Any]) -> Kind:
    for kind in KINDS:
        if isinstance(column.type, kind.column):
            return kind
    raise TypeError(f"{column}: {column.type!r} has no kind in a backup")


def _batches(rows: Iterator[Row]) -> Iterator[Sequence[Row]]:
    """Group rows so that a batch is bounded in number and in bytes."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) for value in row.values() if isinstance(value, bytes | str))
        if size >= BATCH_BYTES or len(batch) == BATCH_ROWS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
