"""CSV that is given out: nothing in it is a formula, and numbers are as they are."""

import csv
import io

import pyarrow as pa
import pytest

from service.csv_text import csv_bytes


@pytest.mark.parametrize("text", ["=cmd()", "+a", "-a", "@SUM(A1)", "=1", "-1+2", "\ta", "+", "-"])
def test_a_text_that_a_spreadsheet_would_run_is_marked(text: str) -> None:
    """A class that begins a formula gets an apostrophe, in cells and in the names of columns."""
    table = pa.table({f"probability of {text}": [0.5], text: [text]})
    names, cells = csv.reader(io.StringIO(csv_bytes(table).decode()))
    assert names == [f"probability of {text}", f"'{text}"]
    assert cells == ["0.5", f"'{text}"]


@pytest.mark.parametrize("text", ["-1", "+1.5", "-.5", "1e5", "-1.5E-3", "a=b", "2-1", "", "'=a"])
def test_numbers_and_other_texts_are_as_they_are(text: str) -> None:
    """A text that is a number may begin with a sign."""
    table = pa.table({"prediction": [text, None], "x": [-1.5, None]})
    rows = list(csv.reader(io.StringIO(csv_bytes(table).decode())))
    assert rows == [["prediction", "x"], [text, "-1.5"], ["", ""]]
    assert csv_bytes(table, header=False).count(b"\n") == 2
