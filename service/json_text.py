"""JSON text -> Python values: strictly or fast, and never past the memory and the values that the service can take."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service.context import parts
from service.problems import ERRORS_SHOWN, Problem, invalid_body
from worker.errors import pointer_token

DEPTH_LIMIT = 32
SETTING = "GRADMILL_JSON_MEMORY_BYTES_LIMIT"

OBJECT_BYTES, LIST_BYTES, VALUE_BYTES, STRING_BYTES, MEMBER_BYTES = 250, 100, 56, 76, 90
"""About what Python and the fast parser take for a small object, a small list, a number with its place in a list, a
short string, and a member's place in a growing object. Brackets, commas, quotes and colons are counted."""
LARGEST_PER_BYTE = OBJECT_BYTES // 2
"No JSON takes more for its length than an empty object."

INTEGERS = range(-(2**63), 2**63)
ESCAPES = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
"A part of every text that `check_values` refuses: half a surrogate pair, or NUL."
SHAPE = bytes.maketrans(b"123456789E", b"000000000e")
"What makes all digits alike, so that a number can be found by its shape."
INTEGER_DIGITS = 19
"An integer with fewer has 64 bits."
LARGE_INTEGERS = [before + b"0" * INTEGER_DIGITS for before in (b",", b":", b"[", b"-", b" ", b"\t", b"\n", b"\r")]
"""A part of the shape of every integer past 64 bits, unless it is the whole document. Digits behind a point are no such
part: a float below 0.01 has 19 of them."""
LARGE_EXPONENTS = (b"e000", b"e+000")
SHORT_BYTES = 4096
"""Up to here a text is searched for these parts: 30 numbers in 4 us, where NumPy takes 25. 30,000 would take 7 ms so,
and take 0.2 with NumPy; the fast parser takes 1.1."""
PIECE_BYTES, OVERLAP_BYTES = 2**19, 32
"The overlap is longer than what is looked for. Other threads wait while a piece is searched."


def check_memory(content: bytes) -> None:
    """Raise a 413 Problem for JSON that would take too much memory, before it is parsed."""
    limit = parts().settings.json_memory_bytes_limit
    if len(content) * LARGEST_PER_BYTE <= limit:
        return
    objects, lists = _count(content, "{") * OBJECT_BYTES, _count(content, "[") * LIST_BYTES
    values, members = _count(content, ",") * VALUE_BYTES, _count(content, ":") * MEMBER_BYTES
    strings = _count(content, '"') // 2 * STRING_BYTES
    # a letter takes four bytes as soon as one letter of its text is outside Latin-1
    # the bytes are decoded before they are parsed
    letters = 2 * len(content) * (1 if content.isascii() and not _has_escapes(content) else 4)
    if (memory := objects + lists + values + members + strings + letters) > limit:
        raise Problem(
            413,
            f"this JSON would take about {memory} bytes of memory; the limit is {limit} ({SETTING}). "
            "Send a large table as a file to POST /v1/datasets",
        )


def parse_json(content: bytes) -> Any:
    """Return strict JSON as Python values.

    Raises Problem for NaN, a name that occurs twice in an object, nesting deeper than DEPTH_LIMIT, a text that takes
    too much memory, and the values that `check_values` refuses.
    """
    if not content:
        raise Problem(400, "the body is empty")
    check_memory(content)
    try:
        document = json.loads(content.decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise Problem(400, f"the body is not UTF-8: byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise Problem(400, f"the body is nested deeper than {DEPTH_LIMIT} levels") from error
    except ValueError as error:
        raise Problem(400, f"the body is not JSON: {error}") from error
    _check_depth(document)
    check_values(content, document)
    return document


def parse_fast(content: bytes) -> Any:
    """Return JSON as Python values, parsed by the fast parser if it can be. Raises Problem as `parse_json` does.

    But if two members have the same name, the last is kept, and there may be 1,024 levels.
    """
    return _parse(content, parse_json)


def parse_with_nan(content: bytes) -> Any:
    """Parse JSON from clients of other servers, which may contain NaN for a missing number. Raises Problem."""
    if not content:
        raise Problem(400, "the body is empty")
    return _parse(content, _parse_with_nan)


def _parse(content: bytes, slowly: Callable[[bytes], Any]) -> Any:
    """Parse with the fast parser, or `slowly` where that checks more, or says where the fault is. Raises Problem."""
    check_memory(content)
    if not _is_suspicious(content):
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(content)
    return slowly(content)


def _parse_with_nan(content: bytes) -> Any:
    try:
        document = json.loads(content.decode(), parse_constant=_only_nan)
    except UnicodeDecodeError as error:
        raise Problem(400, f"the JSON is not UTF-8: byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: line {error.lineno}, column {error.colno}") from error
    except (RecursionError, ValueError) as error:
        raise Problem(400, "the body is not JSON that can be read") from error
    _check_depth(document)
    check_values(content, document)
    return document


def check_values(content: bytes, document: Any) -> None:
    """Raise a 422 Problem that points at each value which JSON can express but a database or an answer can't.

    These are integers past 64 bits, numbers past the range of a float, NUL, and half a surrogate pair.
    content: the bytes of the document.
    """
    if not (_is_suspicious(content) or _has_large_exponent(content)):
        return
    if found := list(islice(_faults(document, ""), ERRORS_SHOWN)):
        raise invalid_body(found)


def _is_suspicious(content: bytes) -> bool:
    """Return whether there may be half a surrogate pair, NUL, or an integer past 64 bits. It clears most text alone.

    The fast parser itself refuses a number past the range of a float.
    """
    if _has_escapes(content) and ESCAPES.search(content) is not None:
        return True
    if content[:INTEGER_DIGITS].isdigit():
        return True
    if len(content) <= SHORT_BYTES:
        return _has_shape(content, LARGE_INTEGERS)
    return any(map(_has_large_integer, _pieces(content)))


def _has_large_exponent(content: bytes) -> bool:
    """Return whether there may be a number past the range of a float."""
    if len(content) <= SHORT_BYTES:
        return _has_shape(content, LARGE_EXPONENTS)
    return any(map(_has_three_digits_behind_e, _pieces(content)))


def _has_shape(content: bytes, parts: Iterable[bytes]) -> bool:
    shape = content.translate(SHAPE)
    return any(part in shape for part in parts)


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES + OVERLAP_BYTES]


def _has_escapes(content: bytes) -> bool:
    # one byte is found 100 times as fast as two
    return b"\\" in content and rb"\u" in content


def _count(content: bytes, letter: str) -> int:
    """Return how often an ASCII letter occurs: 30,000 times among 600,000 in 0.04 ms, where `bytes.count` takes 0.3."""
    return sum(
        int(np.count_nonzero(np.frombuffer(content[start : start + PIECE_BYTES], np.uint8) == ord(letter)))
        for start in range(0, len(content), PIECE_BYTES)
    )


def _has_large_integer(text: bytes) -> bool:
    """Return whether the text has 19 digits in a row, neither behind a point nor at its very beginning."""
    letters = np.frombuffer(text, np.uint8)
    is_digit = _is_digit(letters)
    run, length = is_digit, 1
    while length < INTEGER_DIGITS:
        # run[n]: whether `length` digits begin at n
        step = min(length, INTEGER_DIGITS - length)
        run, length = run[:-step] & run[step:], length + step
    behind = run[1:]
    before = ~is_digit[: len(behind)] & (letters[: len(behind)] != ord("."))
    return bool((before & behind).any())


def _is_digit(letters: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return letters - np.uint8(ord("0")) < 10


def _has_three_digits_behind_e(text: bytes) -> bool:
    letters = np.frombuffer(text, np.uint8)
    is_digit = _is_digit(letters)
    three = is_digit[:-2] & is_digit[1:-1] & is_digit[2:]
    is_e, is_plus = (letters | 32) == ord("e"), letters == ord("+")
    return bool((is_e[:-3] & three[1:]).any() or (is_e[:-4] & is_plus[1:-3] & three[2:]).any())


def _faults(value: Any, pointer: str) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        for name, member in value.items():
            if (detail := _fault(name)) is not None:
                # the name itself could not be repeated
                yield {"pointer": pointer, "detail": f"the name of a member {detail}"}
            else:
                yield from _faults(member, f"{pointer}/{pointer_token(name)}")
    elif isinstance(value, list):
        for n, element in enumerate(value):
            yield from _faults(element, f"{pointer}/{n}")
    elif (detail := _fault(value)) is not None:
        yield {"pointer": pointer, "detail": detail}


def _fault(value: Any) -> str | None:
    """Return what is wrong with a text or a number; None if nothing is."""
    match value:
        case str() if "\0" in value:
            return "must not contain NUL"
        case str() if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            return "must not contain half of a surrogate pair, which is not text"
        case int() if value not in INTEGERS:
            return "must be an integer of at most 64 bits"
        case float() if math.isinf(value):
            return "must be a number that 64 bits can hold"
        case _:
            return None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"a member appears twice: {twice[:64]!r}")
    return members


def _no_constant(token: str) -> None:
    raise ValueError(f"{token} is not a JSON number")


def _only_nan(token: str) -> float:
    if token != "NaN":  # noqa: S105 - a token of JSON's grammar
        raise ValueError(token)
    return math.nan


def _check_depth(document: Any) -> None:
    level = [document]
    for _ in range(DEPTH_LIMIT):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise Problem(400, f"the body is nested deeper than {DEPTH_LIMIT} levels")


def _children(parent: Any) -> Iterable[Any]:
    if isinstance(parent, dict):
        return [child for child in parent.values() if isinstance(child, dict | list)]
    return [child for child in parent if isinstance(child, dict | list)] if isinstance(parent, list) else ()
