"""Numbers as people and spreadsheets write them: 1.234,5 or 12 % or $7. A column is read if all its cells agree.

1,234 alone could be either, and stays text. Source of the forms: Unicode CLDR, number symbols and patterns.
"""

import re
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from worker.data.cells import NUMBER, all_match
from worker.specs.base import Spec

CURRENCIES = "$\u20ac\u00a3\u00a5"
SIGNS = ("%", *CURRENCIES)


class NumberForm(Spec):
    """How the numbers of a column are written.

    decimal: the mark before a fraction.
    thousands: the mark between groups of three digits; "" for none.
    sign: what stands before or behind each number, which counts nothing: 12 % is 12.
    """

    decimal: Literal[".", ","] = "."
    thousands: Literal["", ",", ".", " ", "'"] = ""
    sign: Literal["", "%", "$", "\u20ac", "\u00a3", "\u00a5"] = ""

    @property
    def pattern(self) -> str:
        """The pattern of such a number."""
        return form_pattern(self.decimal, self.thousands, self.sign)

    @property
    def words(self) -> str:
        """The form in words."""
        said = [f"the decimal mark {self.decimal!r}"] if self.decimal != "." else []
        said += [f"thousands separated by {self.thousands!r}"] if self.thousands else []
        said += [f"the sign {self.sign}, which counts nothing"] if self.sign else []
        return f"numbers with {' and '.join(said)}"


def form_pattern(decimal: str, thousands: str, sign: str) -> str:
    """Return the pattern of a number of a form. Its whole part and its fraction are the groups of these names."""
    mark = {" ": "[ \u00a0\u202f]", "'": "['\u2019]"}.get(thousands, re.escape(thousands))
    digits = f"(?:[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+|[0-9]+)" if thousands else "[0-9]+"
    before, behind = (rf"(?:{re.escape(sign)}\s*)?", rf"(?:\s*{re.escape(sign)})?") if sign else ("", "")
    return rf"{before}(?P<whole>[+-]?{digits})(?:{re.escape(decimal)}(?P<fraction>[0-9]+))?{behind}"


FORMS: tuple[tuple[NumberForm, str], ...] = (
    (NumberForm(decimal=","), r"(,[0-9]{1,2}|,[0-9]{4,}|^[+-]?0,[0-9]+|^[+-]?[0-9]{4,},[0-9]+)$"),
    (NumberForm(thousands=","), r",[0-9]{3}[,.]"),
    (NumberForm(thousands=".", decimal=","), r"\.[0-9]{3}[,.]"),
    (NumberForm(thousands=" "), "[ \u00a0\u202f]"),
    (NumberForm(thousands=" ", decimal=","), "[ \u00a0\u202f]"),
    (NumberForm(thousands="'"), "['\u2019]"),
    (NumberForm(thousands="'", decimal=","), "['\u2019]"),
)
"Each form with what one cell at least must have, so that it could not be another."


def form_of(present: pa.ChunkedArray) -> NumberForm | None:
    """Return the form of a column's trimmed cells; None if they do not agree, or if they could be of another form."""
    sign, cells = _without_sign(pc.drop_null(present))
    if not len(cells):
        return None
    if sign and all_match(cells, NUMBER.pattern):
        return NumberForm(sign=sign)
    for form, evidence in FORMS:
        if all_match(cells, unnamed(form.pattern)) and pc.any(pc.match_substring_regex(cells, evidence)).as_py():
            return form.model_copy(update={"sign": sign})
    return None


def declared_form(present: pa.ChunkedArray, declared: NumberForm) -> NumberForm | None:
    """Return the form that the sender of a table has named, with the sign that a column's trimmed cells have.

    None if a cell is not of that form, or if none of them has a mark of it: then they are written plainly.
    """
    sign, cells = _without_sign(pc.drop_null(present))
    if not len(cells) or not all_match(cells, unnamed(declared.pattern)):
        return None
    form = declared.model_copy(update={"sign": sign})
    is_plain = not sign and all_match(cells, "[+-]?[0-9]+")
    return None if is_plain else form


def has_some(present: pa.ChunkedArray, declared: NumberForm | None) -> bool:
    """Return whether some cells have a mark of the form that was declared, though not all are of it.

    Then 1.500 among them could be either, even if all of them are plain numbers too.
    """
    # a point before a fraction is plain
    marks = declared.thousands + declared.decimal.removeprefix(".") if declared else ""
    if declared is None or not marks:
        return False
    cells = pc.drop_null(present)
    of_form = pc.match_substring_regex(cells, f"^(?:{unnamed(declared.pattern)})$")
    return bool(pc.any(pc.and_(of_form, pc.match_substring_regex(cells, f"[{re.escape(marks)}]"))).as_py())


def _without_sign(cells: pa.ChunkedArray) -> tuple[str, pa.ChunkedArray]:
    """Return the sign that all cells have, and the cells without it; no sign and the cells if they do not agree."""
    sign = next((sign for sign in SIGNS if sign in cells[0].as_py()), "") if len(cells) else ""
    if not sign or not pc.all(pc.match_substring(cells, sign)).as_py():
        return "", cells
    return sign, pc.utf8_trim_whitespace(pc.replace_substring(cells, sign, "", max_replacements=1))


def unnamed(pattern: str) -> str:
    """Return a pattern without the names of its groups."""
    return re.sub(r"\(\?P<\w+>", "(?:", pattern)
