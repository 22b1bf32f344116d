"""Numbers in other forms: read if all cells of a column agree and no other reading is possible, and then everywhere."""

import json

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import spec_of
from worker.data.cells import plain_number, plain_numbers
from worker.data.encoders import NumericCode
from worker.data.fitting import fit_encoders
from worker.data.number_forms import NumberForm, form_of
from worker.data.pieces import cut_csv
from worker.data.profiles import TableProfile, profile_table
from worker.data.readers import CSV, read_cells, read_header, read_pieces, read_table
from worker.data.roles import assign_roles
from worker.errors import DataError
from worker.networks.rows import RowEncoder
from worker.settings import Limits

LIMITS = Limits()


@pytest.mark.parametrize(
    ("cells", "form", "plain"),
    [
        (["1,5", "2", "-0,25"], (",", "", ""), ["1.5", "2", "-0.25"]),
        (["0,123", "0,456"], (",", "", ""), ["0.123", "0.456"]),
        (["1,234,567", "1,234"], (".", ",", ""), ["1234567", "1234"]),
        (["1,234.5", "7"], (".", ",", ""), ["1234.5", "7"]),
        (["1.234,5", "12"], (",", ".", ""), ["1234.5", "12"]),
        (["1\u00a0234,5", "12"], (",", " ", ""), ["1234.5", "12"]),
        (["1'234.5", "12", "1\u2019000"], (".", "'", ""), ["1234.5", "12", "1000"]),
        (["12 %", "3.5%"], (".", "", "%"), ["12", "3.5"]),
        (["12,5 %", "3 %"], (",", "", "%"), ["12.5", "3"]),
        (["$1,200.50", "$7"], (".", ",", "$"), ["1200.50", "7"]),
        (["5,00 \u20ac", "1.200,50 \u20ac"], (",", ".", "\u20ac"), ["5.00", "1200.50"]),
    ],
)
def test_a_form_is_found_and_read(cells: list[str], form: tuple[str, str, str], plain: list[str]) -> None:
    """With its decimal mark, its separator of thousands and its sign."""
    column = pa.chunked_array([[*cells, None]])
    found = form_of(column)
    assert found is not None
    assert (found.decimal, found.thousands, found.sign) == form
    assert plain_numbers(column, found.pattern).to_pylist() == [*plain, None]
    assert [plain_number(cell, found.pattern) for cell in cells] == plain


@pytest.mark.parametrize(
    "cells",
    [
        ["1,234", "5,678"],
        ["1,234", "7"],
        ["1,5", "x"],
        ["12 %", "3"],
        ["$5", "\u20ac5"],
        ["1,5", "1.5"],
        ["12,34,567", "1"],
        ["1,2,3"],
        ["%"],
        ["5 % %"],
        ["192.168.0.1", "10.0.0.1"],
        ["01.02.2026", "03.04.2026"],
        [],
    ],
)
def test_what_does_not_agree_or_could_be_another_is_no_number(cells: list[str]) -> None:
    """1,234 alone could be either; an address and a date are neither."""
    assert form_of(pa.chunked_array([cells], pa.string())) is None


def csv(cells: list[str]) -> bytes:
    rows = [f'"{cell}";{"ab"[n % 2]}' for n, cell in enumerate(cells)]
    return "\n".join(["price;label", *rows, ""]).encode()


CONTENT = csv([f"{n}.{n % 10}00,{n % 7}5 \u20ac" for n in range(1, 60)] + ["NA", "7,5 \u20ac"])


def test_a_form_goes_with_its_table_and_its_network() -> None:
    """Read as a whole, in pieces, again from its profile, and by a network that is asked with such cells."""
    table = read_table(CONTENT, CSV, LIMITS)
    assert table["price"].to_pylist()[:2] == [1100.15, 2200.25]
    profile = TableProfile.model_validate_json(profile_table(table, LIMITS).model_dump_json())
    form = NumberForm(decimal=",", thousands=".", sign="\u20ac")
    assert profile.reading.forms == {"price": form}
    pieces = cut_csv(CONTENT, read_header(CONTENT, LIMITS).delimiter, table)
    assert pieces is not None
    part = read_pieces(CONTENT, CSV, pieces.types, LIMITS, profile.reading)
    assert part.equals(table, check_metadata=True)
    assert read_table(CONTENT, CSV, LIMITS, reading=profile.reading).equals(table, check_metadata=True)
    encoders = fit_encoders(table.take(list(range(30))), assign_roles(spec_of(), profile, LIMITS))
    (code,) = encoders.features
    assert isinstance(code, NumericCode)
    assert code.form == form
    rows = RowEncoder(type(encoders).model_validate(json.loads(encoders.model_dump_json())), np.float64)
    wanted = rows.encode([[1234.5]]).x
    for cell in ("1.234,5 \u20ac", "1.234,5", " 1234.5", "\u20ac 1234,5", 1234.5):
        np.testing.assert_array_equal(rows.encode([[cell]]).x, wanted)
        np.testing.assert_array_equal(rows.encode([{"price": cell}]).x, wanted)
        asked = read_cells(csv([str(cell)]), LIMITS, cells_limit=1000)
        np.testing.assert_array_equal(rows.encode_table(asked).x, wanted)
    for cell in ("1,234.5", "5 %", "1.23,4,5"):
        with pytest.raises(DataError, match="must be a number"):
            rows.encode([[cell]])


def test_rows_to_predict_have_no_forms_of_their_own() -> None:
    """A network that was trained on plain numbers refuses 1,5 in a CSV as in JSON."""
    table = pa.table({"price": [1.5, 2.5], "label": ["a", "b"]})
    rows = RowEncoder(fit_encoders(table, assign_roles(spec_of(), profile_table(table, LIMITS), LIMITS)))
    asked = read_cells(csv(["1,5", "2,5"]), LIMITS, cells_limit=1000)
    with pytest.raises(DataError, match="must be a number, not '1,5'"):
        rows.encode_table(asked)
