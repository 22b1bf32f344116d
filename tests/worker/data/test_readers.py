"""Bytes become tables, or are refused with the row and the column at fault."""

import pyarrow as pa
import pyarrow.parquet
import pytest

from worker.data.inline import inline_table
from worker.data.pieces import write_pieces
from worker.data.readers import ARROW, CSV, PARQUET, read_header, read_pieces, read_table
from worker.data.reading import FORMER
from worker.errors import DataError, SpecError
from worker.settings import Limits
from worker.specs.dataset import InlineDataset

LIMITS = Limits(rows=1000, columns=20)


def test_a_csv_becomes_numbers_and_text_with_nulls_for_missing_cells() -> None:
    """Each kind of cell is read, with four spellings of a missing cell, CRLF and a byte order mark."""
    content = (
        "\ufeffage,height,city,member,born\r\n"
        "31,1.5,Bonn,true,2001-02-03\r\n"
        ",NA,NaN,false,2001-02-04\r\n"
        '40,NaN,"a, ""b""",null,\r\n'
    ).encode()
    table = read_table(content, CSV, LIMITS)
    assert table.to_pydict() == {
        "age": [31, None, 40],
        "height": [1.5, None, None],
        "city": ["Bonn", None, 'a, "b"'],
        "member": ["true", "false", None],
        "born": [981158400, 981244800, None],
    }
    kept = read_table(content, CSV, LIMITS, text={"age"})
    assert kept["age"].to_pylist() == ["31", "", "40"]
    assert [str(kind) for kind in table.schema.types] == ["int64", "double", "string", "string", "int64"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_the_headers(delimiter: str) -> None:
    """The header's most frequent delimiter separates every line."""
    content = f"a{delimiter}b\n1{delimiter}x\n".encode()
    assert read_table(content, CSV, LIMITS).to_pydict() == {"a": [1], "b": ["x"]}


@pytest.mark.parametrize(
    ("content", "said", "row", "column"),
    [
        (b"a,b\n1,2\n3\n", "expected 2 cells, got 1", 1, None),
        (b"a,b\n1,2,3\n", "expected 2 cells, got 3", 0, None),
        (b"a,a\n1,2\n", "two columns have this name", None, "a"),
        (b"a,\n1,2\n", "column 1 has no name", None, None),
        (b"", "first line must have the column names", None, None),
        (b"a,b\n", "no rows", None, None),
        (b"a,b\n\xff,1\n", "not UTF-8: byte 4", None, None),
        (b"a,b\n1,2\n2,inf\n", "must be finite", 1, "b"),
        (b"a\n" + b"1\n" * 1001, "1001 rows, more than 1000", None, None),
        (b",".join(b"c%d" % n for n in range(21)) + b"\n", "more than 20 columns", None, None),
        (b'a,b\n1,"2\n3,4\n5,6\n', "a quote is never closed", 0, "b"),
        (b"a\n1\n" + b'"' + b"x" * 2**17, "is a quote never closed", 1, "a"),
        (b"a\n" + b"x" * (9 * 2**20) + b"\n1\n", "a cell is longer than 65536 bytes", 0, "a"),
        (b"a\x07b,c\n1,2\n", "printable", None, None),
        (b"a,b\n1,2\n3,x\0y\n", "has a NUL", 1, None),
    ],
)
def test_a_bad_csv_is_refused_with_its_place(content: bytes, said: str, row: int | None, column: str | None) -> None:
    """An error in a CSV file has the row or the column at fault, if it has one."""
    with pytest.raises(DataError, match=said) as caught:
        read_table(content, CSV, LIMITS)
    assert (caught.value.row, caught.value.column) == (row, column)


def test_text_is_kept_to_the_letter_and_only_numbers_are_numbers() -> None:
    """Leading zeros, underscores, 1,234 and other scripts' digits are text; so is a quoted delimiter."""
    table = read_table('zip,n,x,y,"a; b"\n01234,1_000,"1,234",\u0661,1e3\n77,2,3,4,-5\n'.encode(), CSV, LIMITS)
    assert table.column_names == ["zip", "n", "x", "y", "a; b"]
    # 1e3 is a whole number
    assert [str(kind) for kind in table.schema.types] == ["string"] * 4 + ["int64"]
    assert table["zip"].to_pylist() == ["01234", "77"]


def inline(columns: list[str], rows: list[list[object]]) -> InlineDataset:
    return InlineDataset.model_validate({"source": "inline", "columns": columns, "rows": rows})


def test_inline_rows_survive_their_storage() -> None:
    """Numbers, text, booleans and missing cells survive the stored bytes, an older version's too."""
    table = inline_table(
        inline(["n", "x", "t", "b"], [[1, 0.5, "a", True], [None, 2, "", False], [3, None, "1", None]])
    )
    content, _ = write_pieces(table)
    again = read_table(content, ARROW, LIMITS)
    assert again.equals(table)
    assert again.to_pydict() == {
        "n": [1, None, 3],
        "x": [0.5, 2.0, None],
        "t": ["a", None, "1"],
        "b": ["true", "false", None],
    }
    older = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, older)
    assert read_table(older.getvalue().to_pybytes(), PARQUET, LIMITS).equals(table)
    assert content == write_pieces(pa.table(table.to_pydict(), schema=table.schema))[0]


@pytest.mark.parametrize(
    ("rows", "pointer"),
    [
        ([[1, 2], [3]], "/dataset/rows/1"),
        ([[1, 2], [3, "x"]], "/dataset/rows/1/1"),
        ([[1, 2], [True, 2]], "/dataset/rows/1/0"),
        ([[2**63, 2], [1, 2]], "/dataset/columns/0"),
    ],
)
def test_bad_inline_rows_are_refused_with_a_pointer(rows: list[list[object]], pointer: str) -> None:
    """The error points at a ragged row, a cell that is no number among numbers, or a column of too large integers."""
    with pytest.raises(SpecError) as caught:
        inline_table(inline(["a", "b"], rows))
    assert caught.value.pointer == pointer


def test_a_table_from_before_is_read_as_it_was() -> None:
    """Its profile, and the categories of networks, have the cells as they were."""
    content = b"a,b,c\nTrue, x,None\nfalse,y ,1\n"
    former = read_table(content, CSV, LIMITS, reading=FORMER)
    assert former.to_pydict() == {"a": ["True", "false"], "b": [" x", "y "], "c": ["None", "1"]}
    assert read_pieces(content, CSV, ["string"] * 3, LIMITS, FORMER) == former
    cleaned = {"a": ["true", "false"], "b": ["x", "y"], "c": [None, 1]}
    assert read_table(content, CSV, LIMITS).to_pydict() == cleaned
    assert read_pieces(content, CSV, ["string", "string", "int64"], LIMITS).to_pydict() == cleaned


@pytest.mark.parametrize(
    ("content", "names", "unnamed"),
    [
        (b",a,b\n0,1,x\n1,2,y\n", ["a", "b"], [0]),
        (b"a,b,\n1,x,\n2,y,\n", ["a", "b"], [2]),
        (b'"",a,b,,\n"1",1,x,,\n"2",2,y,,\n', ["a", "b"], [0, 3, 4]),
    ],
)
def test_a_column_without_a_name_is_left_out(content: bytes, names: list[str], unnamed: list[int]) -> None:
    """pandas and R write a row's number first; others write a last comma."""
    table = read_table(content, CSV, LIMITS)
    assert table.column_names == names
    assert read_header(content, LIMITS).unnamed == unnamed
    assert table.to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    assert read_pieces(content, CSV, ["int64", "string"], LIMITS) == table


def test_a_table_that_pandas_wrote_twice() -> None:
    """Its first index has a name by now, and the second has none."""
    table = read_table(b",Unnamed: 0,a\n0,0,1\n1,1,2\n", CSV, LIMITS)
    assert table.column_names == ["Unnamed: 0", "a"]


def test_only_the_spellings_of_the_list_are_missing() -> None:
    """Arrow takes nAn for a number that is none."""
    table = read_table(b"a,b,c\n1,nAn,NAN\n2,1,NaN\n", CSV, LIMITS)
    assert table.to_pydict() == {"a": [1, 2], "b": ["nAn", "1"], "c": ["NAN", None]}


def test_a_large_float_is_no_integer_in_pieces_or_whole() -> None:
    """From 2^53 on a float may be its neighbour."""
    content = b"a\n1.0\n9007199254740993\n"
    table = read_table(content, CSV, LIMITS)
    assert str(table.schema.field("a").type) == "double"
    assert read_pieces(content, CSV, ["double"], LIMITS) == table
