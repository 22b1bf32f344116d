"""The one reading of names and of cells, wherever they come from: a file, JSON, an Arrow stream, a tensor.

A name is trimmed and in Unicode's composed form. A cell is a number, a category's text, or missing. The same functions
read what a job learns from and what its network is asked, and the exported PyTorch program has their text.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from worker.data.seconds import YEAR_GROUP, seconds_text, seconds_texts

MISSING = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
)
"What a missing cell may look like. Source: pandas, read_csv, na_values."
WHOLE = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.0+)?")
"A whole number, which may have a fraction of zeros."
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
"A number as text. No digits of other scripts, no separators of thousands."

LEADING_ZERO = r"^[+-]?0[0-9xX]"
"A number that may be a code, of which the zero is a part; Arrow would read 0x1F as 31."

SHOWN = 64
"So many letters of a cell are repeated to its sender."


def category_text(cell: str | float | bool | None, missing: Collection[str]) -> str | None:
    """Return the category that a cell means; None for a missing cell.

    Text is trimmed and in Unicode's composed form. true, True and TRUE are one category; so are 1, 1.0 and " 1".
    """
    # NaN is the only number that is not itself
    if cell is None or cell != cell:  # noqa: PLR0124
        return None
    if isinstance(cell, str):
        text = unicodedata.normalize("NFC", cell).strip()
        if text in missing:
            return None
        text = one_spelling(text)
    elif isinstance(cell, bool):
        text = "true" if cell else "false"
    else:
        text = repr(cell) if isinstance(cell, float) and not cell.is_integer() else str(int(cell))
    return None if text in missing else text


def one_spelling(text: str) -> str:
    """Return a truth value in lower case, a whole number without a fraction, and other text as it is."""
    if text.lower() in ("true", "false"):
        return text.lower()
    found = WHOLE.fullmatch(text)
    if found is None:
        return text
    sign, digits = found.groups()
    return digits if digits == "0" else sign + digits


def numbered(categories: Iterable[str]) -> dict[str, int]:
    """Return the number of each category: its place."""
    return {category: n for n, category in enumerate(categories)}


class Lookup:
    """Finds the number of a category by a cell, however it is written."""

    def __init__(self, numbers: Mapping[str, int], missing: Collection[str] = MISSING) -> None:
        self._missing, self._numbers = missing, dict(numbers)
        # those of older networks were not cleaned
        self._cleaned = {category_text(category, ()): n for category, n in reversed(self._numbers.items())}

    def find(self, cell: str | float | bool) -> int | None:
        """Return the number; None for a cell that is missing, or another category."""
        # nearly every cell is a category as it is written
        if type(cell) is str and (number := self._numbers.get(cell)) is not None:
            return number
        text = category_text(cell, self._missing)
        if text is None:
            return None
        known = self._numbers.get(text)
        return self._cleaned.get(text) if known is None else known


def spellings(category: str) -> list[str]:
    """Return the ways in which a category is usually written, for a format that can't read cells itself.

    The first is how it is written itself: in an older network that may not be how it is read now.
    """
    return list(dict.fromkeys([category, *_spellings(category_text(category, ()) or category)]))


def _spellings(category: str) -> list[str]:
    if category in ("true", "false"):
        return [category, category.capitalize(), category.upper()]
    if WHOLE.fullmatch(category) is None:
        return [category]
    whole = [category, "-0"] if category == "0" else [category]
    return [f"{number}{fraction}" for number in whole for fraction in ("", ".0")]


def plain_number(text: str, pattern: str | None) -> str:
    """Return a number of another form as it is written plainly; another text as it is.

    pattern: of a `NumberForm`, which names its whole part and its fraction, or of a `TimeForm`, whose number is the
        seconds since 1970-01-01; None for plain numbers.
    """
    found = None if pattern is None else re.fullmatch(pattern, text)
    if found is None:
        return text
    if "year" in found.re.groupindex:
        return seconds_text(found) or text
    whole = re.sub("[^0-9+-]", "", found["whole"])
    return whole if found["fraction"] is None else f"{whole}.{found['fraction']}"


def read_number(cell: str | float | bool | None, missing: Collection[str], pattern: str | None = None) -> float | None:
    """Return the number that a cell means; None for a missing cell. Raises ValueError if it means none.

    pattern: how its column writes numbers, besides plainly.
    """
    if isinstance(cell, str):
        text = cell.strip()
        if text in missing:
            return None
        text = plain_number(text, pattern)
        if NUMBER.fullmatch(text) is None:
            raise ValueError(cell)
        return float(text)
    if isinstance(cell, bool):
        raise ValueError(cell)  # noqa: TRY004 - to the caller a cell that is no number
    return None if cell is None or cell != cell else cell  # noqa: PLR0124 - NaN


def missing_numbers(missing: Collection[str]) -> list[float]:
    """Return the numbers that mean a missing cell, such as -999."""
    return sorted({float(text) for text in missing if NUMBER.fullmatch(text) is not None})


def without_missing(numbers: pa.ChunkedArray, missing: Collection[str]) -> pa.ChunkedArray:
    """Return a column of numbers with nulls for those that mean a missing cell."""
    marks = missing_numbers(missing)
    if not marks:
        return numbers
    is_missing = pc.is_in(numbers.cast(pa.float64(), safe=False), pa.array(marks, pa.float64()))
    return pc.if_else(is_missing, pa.scalar(None, numbers.type), numbers)


def map_distinct(column: pa.ChunkedArray, function: Callable[[Any], Any], kind: pa.DataType) -> pa.ChunkedArray:
    """Return the column with `function` applied to each cell, called once for each distinct one of a chunk.

    kind: the type of what it returns; None becomes null. A null stays null.
    """
    chunks = []
    for chunk in column.chunks:
        encoded = pc.dictionary_encode(chunk)
        found = pa.array([function(cell) for cell in encoded.dictionary.to_pylist()], kind)
        chunks.append(found.take(encoded.indices))
    return pa.chunked_array(chunks, kind)


def category_texts(column: pa.ChunkedArray, missing: Collection[str]) -> pa.ChunkedArray:
    """Return the categories of a column of text, numbers or truth values."""
    return map_distinct(column, lambda cell: category_text(cell, missing), pa.string())


def present_texts(text: pa.ChunkedArray, missing: Collection[str]) -> pa.ChunkedArray:
    """Return the trimmed cells of a column of text, with nulls for those that are missing."""
    trimmed = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.is_in(trimmed, pa.array(missing, pa.string())), pa.scalar(None, pa.string()), trimmed)


def first_text(present: pa.ChunkedArray) -> int | None:
    """Return the number of the first cell of `present_texts` that is no number; None if all of them are."""
    is_number = pc.match_substring_regex(present, f"^(?:{NUMBER.pattern})$")
    row: int = pc.index(is_number, pa.scalar(value=False)).as_py()
    return None if row < 0 else row


def read_numbers(text: pa.ChunkedArray, missing: Collection[str], pattern: str | None = None) -> pa.ChunkedArray:
    """Return the numbers of a column of text as float64, missing cells as nulls.

    pattern: how the column writes numbers, besides plainly.
    Raises ValueError with the number of the first row whose cell is none.
    """
    present = present_texts(text, missing)
    if pattern is not None:
        present = plain_numbers(present, pattern)
    if (row := first_text(present)) is not None:
        raise ValueError(row)
    return present.cast(pa.float64())


def plain_numbers(text: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    """Return the cells of a column of text with `plain_number` applied to each."""
    if YEAR_GROUP in pattern:
        return seconds_texts(text, pattern)
    return map_distinct(text, lambda cell: plain_number(cell, pattern), pa.string())


def all_match(present: pa.ChunkedArray, pattern: str) -> bool:
    """Return whether each cell of a column of text matches as a whole. present: cells, at least one, without nulls."""
    # most columns are told by their first cell
    parts = (present.slice(0, 1), present)
    return all(pc.all(pc.match_substring_regex(part, f"^(?:{pattern})$")).as_py() for part in parts)


def shown(cell: object) -> str:
    """Return a cell as it is repeated to its sender."""
    text = repr(cell)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
