"""Which JSON the fast parser may have: never a value that must be refused, and ordinary numbers always."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import json_text
from service.problems import Problem

LARGE = [
    b"36893488147419103232",
    b"-36893488147419103232",
    b"9223372036854775808",
    b"1234567890123456789012.5",
    b"1" + b"0" * 60,
]
INFINITE = [b"1e400", b"-1.5E+400", b"1E999", b"12345678901234567890e+300"]
AROUND = [b"%b", b"[%b]", b'{"a":%b}', b'{"a": [1, %b ]}', b"[\n%b]", b"[\t%b\r]"]
PADDING = b'"' + b"x" * json_text.SHORT_BYTES + b'"'


@pytest.mark.parametrize("number", LARGE)
@pytest.mark.parametrize("around", AROUND)
def test_each_large_number_is_suspicious_in_short_and_in_long_text(number: bytes, around: bytes) -> None:
    """Wherever it stands, and however much is before it: also where a long text is cut into pieces."""
    text = around % number
    assert json_text._is_suspicious(text)
    long = b"[" + PADDING + b"," + text + b"]"
    assert json_text._is_suspicious(long)
    for shift in range(len(text) + 2):
        before = b" " * (json_text.PIECE_BYTES - shift)
        assert json_text._is_suspicious(before + text), shift


@pytest.mark.parametrize("number", INFINITE)
@pytest.mark.parametrize("around", AROUND)
def test_a_number_past_the_range_of_a_float_is_refused_by_either_parser(number: bytes, around: bytes) -> None:
    """The fast parser refuses it by itself; the strict one reads it as infinity, and its text is looked at."""
    for text in (around % number, b"[" + PADDING + b"," + around % number + b"]"):
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(text)
        for shift in range(len(text) + 2 if len(text) < 100 else 1):
            before = b" " * (json_text.PIECE_BYTES - shift)
            assert json_text._has_large_exponent(before + text), shift
        with pytest.raises(Problem) as refused:
            json_text.check_values(text, json.loads(text))
        assert "64 bits can hold" in str(refused.value.errors)


@pytest.mark.parametrize("escape", [rb'"\u0000"', rb'"\ud800"', rb'"\uDFFF"'])
def test_text_that_is_no_text_is_suspicious(escape: bytes) -> None:
    """NUL and half a surrogate pair, in short and in long text."""
    assert json_text._is_suspicious(escape)
    assert json_text._is_suspicious(PADDING + escape)


@given(st.integers(0, 2**32), st.sampled_from([1e-6, 1e-3, 1.0, 1e6, 1e15]), st.sampled_from([3, 3000]))
def test_ordinary_numbers_go_to_the_fast_parser(seed: int, scale: float, count: int) -> None:
    """Floats of any size that data have: those below 0.01 have 19 digits and more behind the point."""
    numbers = (np.random.default_rng(seed).normal(size=count) * scale).tolist()
    assert not json_text._is_suspicious(orjson.dumps({"rows": [numbers]}))


values = st.recursive(
    st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("e0123456789.,[", max_size=30),
    lambda children: st.lists(children, max_size=5),
    max_leaves=20,
)


@given(values)
def test_no_value_that_is_refused_is_cleared(value: Any) -> None:
    """Long text is cleared only if the short one would be refused by nothing either."""
    text = json.dumps(value).encode()
    refused = list(json_text._faults(json.loads(text), ""))
    if refused:
        assert json_text._is_suspicious(text)
        assert json_text._is_suspicious(b"[" + PADDING + b"," + text + b"]")
