"""Dates and times as people and programs write them -> seconds since 1970-01-01, if all cells of a column agree.

A time without a zone is taken as UTC. 3/4/2026 alone could be of March or of April, and stays text.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from worker.data.cells import NUMBER, all_match, plain_numbers
from worker.data.number_forms import NumberForm, unnamed
from worker.specs.base import Spec

DAY, WEEK, YEAR = 86_400.0, 7 * 86_400.0, 365.2425 * 86_400.0
Order = Literal["ymd", "dmy", "mdy"]
Mark = Literal["-", "/", "."]
YEARS, ONE_OR_TWO = r"[0-9]{4}", r"[0-9]{1,2}"
CLOCK = (
    r"(?:[ T](?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}(?:\.[0-9]{1,9})?))?"
    r"[ ]?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)


class TimeForm(Spec):
    """How the times of a column are written.

    order: of year, month and day. mark: between them.
    clock: whether a cell has a time of day.
    """

    order: Order
    mark: Mark
    clock: bool = False

    @property
    def pattern(self) -> str:
        """The pattern of such a time, whose parts are groups of their names."""
        return time_pattern(self.order, self.mark)

    @property
    def words(self) -> str:
        """The form in words."""
        names = {"y": "year", "m": "month", "d": "day"}
        return f"seconds since 1970-01-01, from times written {self.mark.join(names[part] for part in self.order)}"

    @property
    def cycles(self) -> tuple[float, ...]:
        """The periods in seconds after which such times are alike."""
        return (DAY, WEEK, YEAR) if self.clock else (WEEK, YEAR)


Form = NumberForm | TimeForm


def time_pattern(order: str, mark: str) -> str:
    """Return the pattern of a date in this order, with or without a time of day."""
    parts = {"y": f"(?P<year>{YEARS})", "m": f"(?P<month>{ONE_OR_TWO})", "d": f"(?P<day>{ONE_OR_TWO})"}
    return f"[{mark}]".join(parts[part] for part in order) + CLOCK


def time_form(present: pa.ChunkedArray, order: Order | None = None) -> TimeForm | None:
    """Return the form of a column's trimmed cells; None if they are no times, do not agree, or could be two things.

    order: what the sender of the table has declared; None to find it out.
    """
    cells = pc.drop_null(present)
    if not len(cells):
        return None
    marks: tuple[Mark, ...] = ("-", "/", ".")
    orders: tuple[Order, ...] = ("ymd", "dmy", "mdy") if order is None else (order,)
    forms = [TimeForm(order=each, mark=mark) for mark in marks for each in orders]
    forms = [form for form in forms if all_match(cells, unnamed(form.pattern)) and _are_times(cells, form)]
    if len(forms) == 2 and forms[0].mark == ".":
        # months come first with slashes and hyphens only
        forms = [form for form in forms if form.order == "dmy"]
    if len(forms) != 1:
        return None
    return forms[0].model_copy(update={"clock": bool(pc.any(pc.match_substring(cells, ":")).as_py())})


def _are_times(cells: pa.ChunkedArray, form: TimeForm) -> bool:
    """Return whether each is a time that exists: there is no 30th of February."""
    return all_match(plain_numbers(cells, form.pattern), NUMBER.pattern)


def seconds_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of dates or timestamps as seconds since 1970-01-01."""
    stamps = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False).cast(pa.int64())
    return pc.divide(stamps.cast(pa.float64(), safe=False), 1e6)


def shown_time(seconds: float, form: TimeForm) -> str | float:
    """Return seconds since 1970-01-01 as the column writes times; the number for a year that has not four digits."""
    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return seconds
    parts = {"y": f"{moment.year:04}", "m": f"{moment.month:02}", "d": f"{moment.day:02}"}
    day = form.mark.join(parts[part] for part in form.order)
    clock = moment.time().isoformat()
    return f"{day}T{clock}" if form.clock else day
