"""What the sender of a file declares of its reading, and the text of programs that write it in ways of their own."""

import tracemalloc
from typing import Any

import pytest

from worker.data.number_forms import NumberForm
from worker.data.profiles import TableProfile
from worker.data.readers import ARROW, CSV, read_table
from worker.data.reading import Declared, Reading
from worker.errors import DataError
from worker.intake.parsers import _table
from worker.settings import Limits

Column = tuple[str, int, float | None, float | None]


def profile(file: str, **declared: Any) -> tuple[TableProfile, str]:
    """Return the profile of an upload, and the media type as which it is stored."""
    found, _, kind, _ = _table(file.encode(), Limits(), Declared(**declared))
    return TableProfile.model_validate_json(found), kind.decode()


def columns(file: str, **declared: Any) -> dict[str, Column]:
    known, _ = profile(file, **declared)
    return {column.name: (column.type, column.missing, column.minimum, column.maximum) for column in known.columns}


def test_a_text_and_a_number_may_mean_a_missing_cell() -> None:
    """-999 does however it is written; what else was missing stays so."""
    text = "a,b\n1,?\n-999,3\n-999.0,NA\n2,4\n"
    assert columns(text, missing=("?", "-999.00")) == {"a": ("numeric", 2, 1, 2), "b": ("numeric", 2, 3, 4)}


def test_one_of_the_usual_texts_may_be_a_category() -> None:
    known, _ = profile("country,b\nNA,1\nDE,2\n,3\n", present=("NA",))
    assert (known.columns[0].categories, known.columns[0].missing) == (("DE", "NA"), 1)


def test_a_declared_form_reads_what_could_be_two_things() -> None:
    """1.234 alone is a fraction; 1,234 alone is text. A column that is not all of the form is read as usual."""
    text = "a;b;c\n1.234;1,234;2.5\n12.345;5,678;3\n"
    assert columns(text)["b"][0] == "categorical"
    assert columns(text, thousands=".") == {
        "a": ("numeric", 0, 1234, 12345),
        "b": ("numeric", 0, 1.234, 5.678),
        "c": ("numeric", 0, 2.5, 3),
    }
    assert columns("a;b\n1,234;x\n5,678;y\n", thousands=",")["a"] == ("numeric", 0, 1234, 5678)
    known, _ = profile("a;b\n1,234;x\n5,678;y\n", decimal=",")
    assert {name: form.decimal for name, form in known.reading.forms.items()} == {"a": ","}


def test_numbers_may_be_declared_text() -> None:
    known, _ = profile("zip,b\n1234,1\n2345,2\n", text=("zip",))
    assert (known.columns[0].type, known.columns[0].categories) == ("categorical", ("1234", "2345"))
    with pytest.raises(DataError, match="no such column") as caught:
        profile("zip,b\n1234,1\n", text=("zap",))
    assert caught.value.column == "zap"


def test_cells_between_spaces_without_names() -> None:
    """As the files of old archives have them. Columns without names are numbered."""
    text = '18.0  8  307.0\t"chevrolet  malibu"\n15.0 8\t 350.0 "buick"\n'
    known, _ = profile(text, delimiter="whitespace", header=False)
    assert [column.name for column in known.columns] == ["0", "1", "2", "3"]
    assert known.columns[2].maximum == 350
    assert known.columns[3].categories == ("buick", "chevrolet  malibu")


def test_lines_of_comments_are_passed_over() -> None:
    assert columns("# made today\na,b\n#x\n1,2\n  # y\n3,4", comment="#") == {
        "a": ("numeric", 0, 1, 3),
        "b": ("numeric", 0, 2, 4),
    }


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_each_usual_mark_between_cells_is_found(mark: str) -> None:
    assert columns(f"a{mark}b\n1{mark}2\n") == {"a": ("numeric", 0, 1, 1), "b": ("numeric", 0, 2, 2)}


def test_rs_row_names_are_left_out_with_a_remark() -> None:
    """R writes no name for them: the line of names is one short. Its own default has spaces between cells."""
    spaced, _ = profile('"mpg" "cyl"\n"Mazda" 21 6\n"Datsun" 22.8 4\n', delimiter="whitespace")
    plain, _ = profile("mpg,cyl\nMazda,21,6\nDatsun,22.8,4\n")
    for known in (spaced, plain):
        assert [(column.name, column.maximum) for column in known.columns] == [("mpg", 22.8), ("cyl", 6)]
        assert (known.unnamed, known.remarks[0].code) == ((0,), "unnamed")


def test_a_mark_at_the_end_of_each_row_is_no_column() -> None:
    known, _ = profile("mpg,cyl\n21,6,\n22.8,4,\n")
    assert [(column.name, column.maximum) for column in known.columns] == [("mpg", 22.8), ("cyl", 6)]


def test_rows_of_one_cell_too_many_are_refused() -> None:
    """Their first cell is no name of the row: it is there twice."""
    with pytest.raises(DataError, match="expected 2 cells, got 3"):
        profile("mpg,cyl\n1,21,6\n1,22.8,4\n")


def test_a_table_that_was_read_otherwise_is_stored_as_it_was_read() -> None:
    """The same bytes may be another table to another sender."""
    text = "a,b\n1,2\n3,4\n"
    assert profile(text)[1] == CSV
    assert profile(text, header=True, comment="#")[1] == CSV
    assert profile(text, missing=("3",))[1] == ARROW


@pytest.mark.parametrize("mark", ["TRUE", "true", "1e5", "100000", "100000.00"])
def test_a_declared_text_means_each_of_its_spellings(mark: str) -> None:
    """In a column of numbers and in one of text."""
    cells = ("TRUE", "True", "true") if mark.lower() == "true" else ("100000", "100000.0", mark)
    text = "a,b\n1,x\n" + "".join(f"{cell},{cell}\n" for cell in cells) + "2,y\n"
    assert columns(text, missing=(mark,)) == {"a": ("numeric", 3, 1, 2), "b": ("categorical", 3, None, None)}


def test_a_number_that_means_a_missing_cell_is_no_moment() -> None:
    assert columns("a,b\n1970-01-01,0\n2026-01-01,1\n", missing=("0",)) == {
        "a": ("numeric", 0, 0, 1767225600),
        "b": ("numeric", 1, 1, 1),
    }


def test_what_is_of_the_declared_form_in_part_is_not_read_as_plain() -> None:
    """1.500 beside 2.25 could be a thousand and a half, or one and a half."""
    assert columns("a;b\n1.500;1\n2.25;2\n", thousands=".", decimal=",")["a"][0] == "categorical"


@pytest.mark.parametrize(
    ("cells", "declared"),
    [
        (("0.5", "1e-05", "2.5"), {"thousands": ","}),
        (("1.5", ".5", "2.5"), {"thousands": " "}),
        (("1.5", "-1.5E3", "2"), {"decimal": ".", "thousands": ","}),
    ],
)
def test_a_point_before_a_fraction_is_plain_whatever_is_declared(
    cells: tuple[str, ...], declared: dict[str, Any]
) -> None:
    assert columns("x;y\n" + "".join(f"{cell};1\n" for cell in cells), **declared)["x"][0] == "numeric"


def test_marks_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="another mark"):
        Declared(decimal=",", thousands=",")
    with pytest.raises(ValueError, match="at most 10 numbers"):
        Declared(missing=tuple(map(str, range(11))))


def test_comments_end_with_each_kind_of_line_and_are_none_within_quotes() -> None:
    known, _ = profile('# x\ra,b\r#y\r1,"u\n# no comment\nv"\r2,w\r', comment="#")
    assert known.columns[1].categories == ("u\n# no comment\nv", "w")


@pytest.mark.parametrize("declared", [{}, {"header": False}, {"delimiter": ","}])
def test_a_line_of_a_million_cells_is_refused_before_they_are_read(declared: dict[str, Any]) -> None:
    tracemalloc.start()
    with pytest.raises(DataError, match="more than 10000 columns"):
        profile("a," * 1_000_000 + "\n1,2\n", **declared)
    with pytest.raises(DataError):
        profile("a,b\n" + "1," * 1_000_000 + "\n", **declared)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_a_stored_table_is_read_as_it_was_when_it_came() -> None:
    """What later versions would find in its text is not looked for; what was found is."""
    text = b'd,n\n2026-01-01,"1,5"\n2026-01-02,"2,5"\n'
    found = read_table(text, CSV, Limits())
    assert [str(kind) for kind in found.schema.types] == ["int64", "double"]
    before = Reading(finds_forms=False, forms={"n": NumberForm(decimal=",")})
    kept = read_table(text, CSV, Limits(), reading=before).to_pydict()
    assert kept == {"d": ["2026-01-01", "2026-01-02"], "n": [1.5, 2.5]}
