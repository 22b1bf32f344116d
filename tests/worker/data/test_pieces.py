"""Some rows of a stored table, from some of its bytes: as they are in the whole table."""

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from worker.data import pieces as module
from worker.data.pieces import Pieces, cut_csv, write_pieces
from worker.data.profiles import profile_table
from worker.data.readers import ARROW, CSV, read_header, read_pieces, read_table
from worker.data.reading import READING, Reading
from worker.errors import DataError
from worker.settings import Limits

LIMITS = Limits()


@pytest.fixture(params=[1, 12, 4096])
def piece_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut after each row, after every few, or not at all."""
    monkeypatch.setattr(module, "PIECE_BYTES", request.param)
    monkeypatch.setattr(module, "COLUMN_BYTES", request.param)


def rows_of(content: bytes, media_type: str, pieces: Pieces, rows: list[int], reading: Reading = READING) -> pa.Table:
    """Read rows as the product does: only the bytes of their pieces, and the types of the whole table."""
    part = pieces.find(rows)
    found = b"".join(content[start:end] for start, end in part.ranges)
    return read_pieces(found, media_type, pieces.types, LIMITS, reading).take(part.positions)


def check_every_row(content: bytes, media_type: str, pieces: Pieces | None, table: pa.Table) -> None:
    assert pieces is not None
    pieces = Pieces.unpack(pieces.pack())
    # the forms of numbers are those of the whole table
    reading = profile_table(table, LIMITS).reading
    for row in range(table.num_rows):
        assert rows_of(content, media_type, pieces, [row], reading).equals(table.slice(row, 1))
    backwards = [*reversed(range(table.num_rows)), 0]
    assert rows_of(content, media_type, pieces, backwards, reading).equals(table.take(backwards))


@pytest.mark.usefixtures("piece_bytes")
@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,x\n2,y\n3,z\n",
        "a,b\r\n1,x\r\n2,y\r\n3,z",
        "\ufeffa;b\n1;x\n2;y\n",
        'a,b\n1,"x\ny"\n2,"x\r\n\r\n,y"\n3,"z"\n',
        'a,b\n1,"x ""y"" \n"\n2,""\n"3",""""\n',
        'a,b\n5" pipe,x\n6",y"\nz,"a"b"c\n',
        'a\tb\n1\t"x\n\ty"\n2\ty\n',
        "a,b\n\n\n1,x\n\n2,y\r\n\r\n\n3,z\n\n\n",
        "a,b\r1,x\r2,y\n3,z\n",
        'a\n"1"\n"2"\n\n"3\n"\n',
        "a,b\n 1, x\n   ,\n\t,y\n",
    ],
)
def test_rows_of_a_csv_are_found_wherever_they_end(text: str) -> None:
    """Line ends of both kinds, empty lines, quoted line ends, quotes within text: each row is the whole table's."""
    content = text.encode()
    table = read_table(content, CSV, LIMITS)
    check_every_row(content, CSV, cut_csv(content, read_header(content, LIMITS).delimiter, table), table)


PLAIN = st.text(alphabet='"1a \u00e9', max_size=5)
QUOTED = st.tuples(st.text(alphabet='"1,\n\r', max_size=6).map(lambda text: text.replace('"', '""')), PLAIN).map(
    lambda parts: f'"{parts[0]}"{parts[1]}'
)
CELLS, ENDS = st.one_of(PLAIN, QUOTED), st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\r\n\n"])


@pytest.mark.usefixtures("piece_bytes")
@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS, ENDS).map(lambda row: f"{row[0]},{row[1]}{row[2]}")).map("".join))
def test_rows_of_any_csv_are_those_of_the_whole_table(text: str) -> None:
    """Whatever table the reader takes, its rows read by themselves have the same values and types."""
    content = f"a,b\n{text}".encode()
    try:
        table = read_table(content, CSV, LIMITS)
    except DataError:
        assume(False)
    check_every_row(content, CSV, cut_csv(content, read_header(content, LIMITS).delimiter, table), table)


@pytest.mark.usefixtures("piece_bytes")
def test_types_are_those_of_the_whole_table() -> None:
    """A row of whole numbers stays float, one of digits stays text, one without a value stays a number."""
    content = b"float,text,zip,empty,whole\n" + b"1,1,77,,1\n" * 20 + b"1.5,x,007,NA,2\n"
    table = read_table(content, CSV, LIMITS)
    assert [str(kind) for kind in table.schema.types] == ["double", "string", "string", "double", "int64"]
    pieces = cut_csv(content, ",", table)
    assert pieces is not None
    assert rows_of(content, CSV, pieces, [0]).to_pylist() == [
        {"float": 1.0, "text": "1", "zip": "77", "empty": None, "whole": 1}
    ]
    check_every_row(content, CSV, pieces, table)


def test_rows_that_can_not_be_told_apart_are_not_cut() -> None:
    """If the table has other rows than its bytes seem to have, it is read as a whole."""
    content = b"a,b\n1,2\n3,4\n"
    assert cut_csv(content, ",", read_table(content, CSV, LIMITS).slice(1)) is None


@pytest.mark.usefixtures("piece_bytes")
def test_rows_of_an_arrow_stream_are_found_by_batch() -> None:
    """Numbers, text and missing cells of a stream that we wrote; the stream read as a whole is the table."""
    table = pa.table(
        {
            "n": pa.array([*range(99), None], pa.int64()),
            "x": [n / 7 for n in range(100)],
            "t": [None if n % 9 == 0 else str(n) * (n % 5) for n in range(100)],
            "empty": pa.nulls(100, pa.float64()),
        }
    )
    content, pieces = write_pieces(table)
    assert read_table(content, ARROW, LIMITS).equals(table)
    check_every_row(content, ARROW, pieces, table)


def test_a_quoted_line_end_may_be_anywhere_in_a_large_table() -> None:
    """Arrow reads blocks of 8 MiB, and none ends within a quoted cell."""
    content = b"a,b\n" + b'"x\nyyyyyy\nzzzzzz",1\n' * 500_000
    assert read_table(content, CSV, LIMITS).num_rows == 500_000


def test_the_first_rows_are_counted_by_their_bytes() -> None:
    """As many pieces as fit, and the first one in any case."""
    pieces = Pieces(types=("int64",), head_bytes=2, piece_rows=(3, 2, 4), piece_bytes=(10, 10, 10))
    assert [pieces.rows_within(limit) for limit in (1, 10, 19, 20, 99)] == [3, 3, 3, 5, 9]


def test_neighbouring_pieces_are_one_range() -> None:
    """A request is made for each range, so pieces next to each other are read together."""
    pieces = Pieces(types=("int64",), head_bytes=2, piece_rows=(3, 2, 4), piece_bytes=(10, 20, 30))
    assert pieces.find([4, 0]) == ([(0, 32)], [4, 0])
    assert pieces.find([8, 5]) == ([(0, 2), (32, 62)], [3, 0])
