"""Times are seconds since 1970, read in one way by columns and single cells; Python's datetime is the oracle."""

import random
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import spec_of
from worker.data.cells import MISSING, plain_number, plain_numbers, read_number, read_numbers
from worker.data.encoders import NumericCode
from worker.data.encoding import encode_table
from worker.data.fitting import fit_encoders
from worker.data.profiles import profile_table
from worker.data.readers import CSV, read_table
from worker.data.reading import READING
from worker.data.roles import assign_roles
from worker.data.times import DAY, WEEK, YEAR, TimeForm, shown_time, time_form
from worker.errors import SpecError
from worker.settings import Limits

ORDERS = {"ymd": "%Y{0}%m{0}%d", "dmy": "%d{0}%m{0}%Y", "mdy": "%m{0}%d{0}%Y"}
BEGIN = datetime(1, 1, 2, tzinfo=UTC)


def cells(*texts: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.string())])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("mark", ["-", "/", "."])
def test_each_form_is_read_as_python_reads_it(order: Any, mark: Any) -> None:
    """In a column and one by one, over all years that there are, with and without fractions and zones."""
    generator = random.Random(1)
    moments = [BEGIN + timedelta(seconds=generator.randrange(9990 * 365 * 86_400)) for _ in range(500)]
    texts, expected = [], []
    for n, moment in enumerate(moments):
        zone = timezone(timedelta(minutes=generator.randrange(-800, 800)))
        local = (moment if n % 3 else moment.replace(microsecond=250_000)).astimezone(zone if n % 2 else UTC)
        clock = local.isoformat()[10:].replace("+00:00", ["", "Z", "+0000"][n % 3])
        text = local.strftime(ORDERS[order].format(mark))
        # strftime does not fill the first thousand years with zeros
        texts.append(text.replace(str(local.year), f"{local.year:04}") + clock)
        expected.append((local - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    pattern = TimeForm(order=order, mark=mark).pattern
    assert [read_number(text, MISSING, pattern) for text in texts] == expected
    assert read_numbers(cells(*texts), MISSING, pattern).to_pylist() == expected


def test_a_column_is_read_as_its_cells_are() -> None:
    """Also where there is no such day, no such time of day, or no time at all."""
    pattern = TimeForm(order="ymd", mark="-").pattern
    generator, texts = random.Random(2), []
    for _ in range(3000):
        year = generator.choice([0, 1, 1900, 2000, 2023, 2024, 9999])
        month, day = generator.randrange(15), generator.randrange(33)
        hour, minute, second = (generator.choice([0, 23, 24, 25, 59, 60, 61]) for _ in "hms")
        clock = generator.choice(["", f" {hour}:{minute:02}", f"T{hour}:{minute:02}:{second:02}"])
        texts.append(f"{year:04}-{month}-{day}{clock}")
    texts += ["", "x", "2026-01-01 ", "2026-01-01T10:00+25:00"]
    one_by_one = [plain_number(text, pattern) for text in texts]
    assert plain_numbers(cells(*texts, None), pattern).to_pylist() == [*one_by_one, None]
    assert 500 < sum(number != text for number, text in zip(one_by_one, texts, strict=True)) < 2500


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["2026-1-2", None, "2026-11-27"], "ymd"),
        (["1/2/2026", "13/2/2026"], "dmy"),
        (["1/2/2026", "2/13/2026"], "mdy"),
        (["1.2.2026", "3.4.2026"], "dmy"),
        (["1/2/2026", "3/4/2026"], None),
        (["1/2/2026", "13/2/2026", "2/13/2026"], None),
        (["2026-02-30"], None),
        (["2026-01-01", "2026/01/01"], None),
        (["2026-01-01", "soon"], None),
        (["2026-01-01 25:00"], None),
        (["12:30"], None),
        (["26-01-01"], None),
        ([None], None),
    ],
)
def test_a_form_is_found_if_there_is_one_reading(texts: list[str | None], order: str | None) -> None:
    found = time_form(cells(*texts))
    assert (None if found is None else found.order) == order


def test_a_declared_order_tells_day_from_month() -> None:
    for order, month in (("dmy", 2), ("mdy", 1)):
        table = read_table(
            b"d,n\n1/2/2026,1\n2/1/2026,2\n", CSV, Limits(), reading=READING.model_copy(update={"dates": order})
        )
        first = datetime.fromtimestamp(table["d"][0].as_py(), UTC)
        assert first.month == month


def test_a_time_is_shown_as_its_column_writes_it() -> None:
    """So that a row that is shown can be sent; one that no text means is a number."""
    for text, form in (
        ("2026-11-27", TimeForm(order="ymd", mark="-")),
        ("0001-01-01", TimeForm(order="ymd", mark="-")),
        ("27.11.2026", TimeForm(order="dmy", mark=".")),
        ("11/27/2026T10:00:00", TimeForm(order="mdy", mark="/", clock=True)),
        ("1969-12-31T23:59:59.250000", TimeForm(order="ymd", mark="-", clock=True)),
    ):
        seconds = read_number(text, MISSING, form.pattern)
        assert seconds is not None
        assert shown_time(seconds, form) == text
    assert shown_time(1e12, TimeForm(order="ymd", mark="-")) == 1e12


@pytest.mark.parametrize("text", ["0001-01-01T00:00+05:00", "9999-12-31 24:00", "9999-12-31T23:00-05:00"])
def test_a_time_outside_the_years_of_four_digits_is_none(text: str) -> None:
    pattern = TimeForm(order="ymd", mark="-").pattern
    assert plain_number(text, pattern) == text
    assert plain_numbers(cells(text), pattern).to_pylist() == [text]


def table(clock: bool = False) -> pa.Table:
    texts = [f"2026-{1 + n % 12:02}-{1 + n % 28:02}" + (f" {n % 24:02}:30" if clock else "") for n in range(100)]
    return read_table(("day,label\n" + "\n".join(f"{t},{n % 2}" for n, t in enumerate(texts))).encode(), CSV, Limits())


@pytest.mark.parametrize("clock", [False, True])
def test_a_time_has_its_place_in_the_day_the_week_and_the_year(clock: bool) -> None:
    """A sine and a cosine each, beside the number; the day only if there are times of day."""
    found = table(clock)
    profile = profile_table(found, Limits())
    roles = assign_roles(spec_of(), profile, Limits())
    encoders = fit_encoders(found, roles)
    (code,) = encoders.features
    assert isinstance(code, NumericCode)
    assert code.cycles == ((DAY, WEEK, YEAR) if clock else (WEEK, YEAR))
    assert roles.inputs == encoders.width == 1 + 2 * len(code.cycles)
    x = encode_table(found, encoders, dtype=np.float64)
    seconds = found["day"].to_numpy()
    expected = [(seconds - seconds.mean()) / seconds.std()]
    for period in code.cycles:
        expected += [np.sin(2 * np.pi * seconds / period), np.cos(2 * np.pi * seconds / period)]
    np.testing.assert_allclose(x, np.stack(expected, axis=1), atol=1e-9)
    plain = assign_roles(spec_of(columns={"day": {"calendar": False}}), profile, Limits())
    assert fit_encoders(found, plain).width == plain.inputs == 1


def test_a_time_is_no_category() -> None:
    """Its cells would be numbers that nobody sends; the refusal says how to have them as text."""
    spec = spec_of(columns={"day": {"type": "categorical"}})
    with pytest.raises(SpecError, match="name it as text"):
        assign_roles(spec, profile_table(table(), Limits()), Limits())
