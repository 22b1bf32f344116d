"""Arrow IPC streams: flat columns are read; what could grow, hide or crash is refused."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from worker.data.arrow_streams import read_arrow_stream, write_arrow_stream
from worker.errors import DataError, TableSizeError
from worker.settings import Limits

MANY = 1_000


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in table.to_batches(max_chunksize=2):
            writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def test_numbers_text_and_missing_cells_are_read() -> None:
    """Floats lose their NaN, other types stay as they are; what is written reads back the same."""
    table = pa.table(
        {
            "f": pa.array([1.5, None, float("nan")], pa.float32()),
            "i": pa.array([1, 2**63, None], pa.uint64()),
            "t": pa.array(["a", "", None], pa.large_string()),
            "b": [True, None, False],
            "none": pa.nulls(3),
            "category": [3.0, 2.5, None],
        }
    )
    read = read_arrow_stream(stream(table), Limits(), cells_limit=MANY)
    assert read.to_pydict() == {
        "f": [1.5, None, None],
        "i": [1, 2**63, None],
        "t": ["a", "", None],
        "b": [True, None, False],
        "none": [None] * 3,
        "category": [3.0, 2.5, None],
    }
    assert read.schema.field("none").type == pa.float64()
    assert pa.ipc.open_stream(write_arrow_stream(read)).read_all() == read


def test_every_batch_is_looked_at() -> None:
    """Compression is found in every batch; pyarrow would decompress a bomb without a limit."""
    plain = pa.table({"x": np.zeros(5)})
    for codec in ("zstd", "lz4"):
        with pytest.raises(DataError, match="compressed"):
            read_arrow_stream(stream(plain, compression=codec), Limits(), cells_limit=MANY)
    schema_and_two, rest = stream(plain), stream(plain, compression="zstd")
    # the compressed stream's batches behind the plain one's
    one = pa.ipc.MessageReader.open_stream(rest)
    messages = [one.read_next_message() for _ in range(3)]
    spliced = schema_and_two[:-8] + messages[2].serialize().to_pybytes() + schema_and_two[-8:]
    with pytest.raises(DataError, match="compressed"):
        read_arrow_stream(spliced, Limits(), cells_limit=MANY)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array(["a", "b"]).dictionary_encode(), "numbers, truth values, times or text"),
        (pa.array([[1], [2]]), "numbers, truth values, times or text"),
        (pa.array([{"a": 1}, {"a": 2}]), "numbers, truth values, times or text"),
        (pa.array([b"a", b"b"]), "numbers, truth values, times or text"),
        (pa.array([1, 2], pa.duration("s")), "numbers, truth values, times or text"),
        (pa.array([1.0, float("inf")]), "finite"),
    ],
)
def test_other_columns_are_refused(column: pa.Array, said: str) -> None:
    """Nested, binary, dictionary-encoded and infinite columns are refused."""
    with pytest.raises(DataError, match=f"{said}|dictionary"):
        read_arrow_stream(stream(pa.table({"x": column})), Limits(), cells_limit=MANY)


def test_names_and_sizes_are_checked() -> None:
    """A repeated name, too many columns and too many rows are refused."""
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    for table, limits in (
        (twice, Limits()),
        (pa.table({"a": [1], "b": [1]}), Limits(columns=1)),
        (pa.table({"a": [1, 2]}), Limits(rows=1)),
    ):
        with pytest.raises(DataError):
            read_arrow_stream(stream(table), limits, cells_limit=MANY)


def test_a_harmed_stream_is_refused_or_read_but_never_more() -> None:
    """A stream with one bit changed, or cut off, gives a DataError or a table, but no other error and no crash."""
    whole = stream(pa.table({"x": [1.0, None, 3.0], "t": ["a", "bb", None]}))
    chance = np.random.default_rng(0)
    harmed = [whole[:n] for n in range(0, len(whole), 7)]
    for place in chance.integers(0, len(whole), 600):
        copy = bytearray(whole)
        copy[place] ^= 1 << int(chance.integers(0, 8))
        harmed.append(bytes(copy))
    refused = 0
    for content in harmed:
        try:
            assert read_arrow_stream(content, Limits(), cells_limit=MANY).num_rows < 10
        except DataError:
            refused += 1
    assert refused > 50


def test_a_table_past_the_limit_of_cells_is_refused_before_memory_is_taken() -> None:
    """Columns of nulls have no bytes: a small stream may claim any number of cells, which are counted first."""
    schema = pa.schema([(f"c{n}", pa.null()) for n in range(1_000)])
    batch = pa.RecordBatch.from_arrays([pa.nulls(4_000_000) for _ in schema], schema=schema)
    content = stream(pa.Table.from_batches([batch]).slice(0, 2))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(TableSizeError, match="4000000000 cells"):
        read_arrow_stream(bytes(sink.getvalue().to_pybytes()), Limits(), cells_limit=5_000_000)
    assert read_arrow_stream(content, Limits(), cells_limit=5_000_000).num_rows == 2


def test_days_and_moments_are_seconds() -> None:
    """As in an upload."""
    days = pa.table({"day": pa.array([0, 1, None], pa.date32()), "at": pa.array([1500, 2000, 0], pa.timestamp("ms"))})
    found = read_arrow_stream(stream(days), Limits(), cells_limit=MANY)
    assert found.to_pydict() == {"day": [0, 86400, None], "at": [1.5, 2, 0]}
