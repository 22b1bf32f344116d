"""Tensors to and from bytes and JSON, against the public client's own code and struct."""

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient.utils import deserialize_bytes_tensor, np_to_triton_dtype, serialize_byte_tensor, triton_to_np_dtype

from service.open_inference.tensors import BYTES, DTYPES, TensorError, datatype_of, from_json, from_raw, to_json, to_raw

NUMBERS = [datatype for datatype in DTYPES if datatype != BYTES]
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)


@given(st.data(), st.sampled_from(NUMBERS), SHAPES, st.integers(0, 9))
def test_raw_numbers_are_what_the_client_packs(
    data: st.DataObject, datatype: str, shape: tuple[int, ...], offset: int
) -> None:
    """Numbers packed by the public client read back alike, at any place in the body, aligned or not."""
    sent = data.draw(arrays.arrays(triton_to_np_dtype(datatype), shape))
    raw = b"x" * offset + sent.tobytes()
    got = from_raw(memoryview(raw)[offset:], datatype, shape)
    np.testing.assert_array_equal(got, sent)
    assert got.flags.aligned
    assert (datatype_of(got), to_raw(got)) == (np_to_triton_dtype(sent.dtype), sent.tobytes())


@given(st.lists(st.binary(max_size=20), max_size=12))
def test_bytes_are_what_the_client_serializes(elements: list[bytes]) -> None:
    """BYTES elements read and write as the public client's own code does."""
    sent = np.array([*elements, None], np.object_)[:-1]
    serialized = serialize_byte_tensor(sent)
    raw = serialized.item() if elements else b""
    got = from_raw(memoryview(raw), BYTES, [len(elements)])
    assert list(got) == elements
    assert list(deserialize_bytes_tensor(to_raw(got))) == elements


def test_raw_tensors_are_little_endian_and_row_major() -> None:
    """Tensors packed by hand read and write as little-endian, row-major bytes."""
    raw = struct.pack("<6h", 1, 2, 3, 4, 5, -6)
    assert from_raw(memoryview(raw), "INT16", [2, 3]).tolist() == [[1, 2, 3], [4, 5, -6]]
    assert to_raw(np.array([[1, 2, 3], [4, 5, -6]], "<i2").T) == struct.pack("<6h", 1, 4, 2, 5, 3, -6)
    assert from_raw(memoryview(b"\0\1\2\xff"), "BOOL", [4]).tolist() == [False, True, True, True]
    assert from_raw(memoryview(struct.pack("<I2sI", 2, b"ab", 0)), BYTES, [2, 1]).tolist() == [[b"ab"], [b""]]


def test_numbers_in_place_are_not_copied() -> None:
    """An aligned tensor shares the memory of the body."""
    raw = np.arange(8, dtype="<f4").tobytes()
    assert np.shares_memory(from_raw(memoryview(raw), "FP32", [2, 4]), np.frombuffer(raw, np.uint8))


@given(st.data(), st.sampled_from([name for name in NUMBERS if name != "FP16"]), SHAPES)
def test_json_is_flat_or_nested(data: st.DataObject, datatype: str, shape: tuple[int, ...]) -> None:
    """Flat and nested lists give the same tensor, and it is written back flat."""
    elements = {"allow_nan": True, "allow_infinity": False} if DTYPES[datatype].kind == "f" else {}
    dtype = triton_to_np_dtype(datatype)
    sent = data.draw(arrays.arrays(dtype, shape, elements=arrays.from_dtype(np.dtype(dtype), **elements)))
    for form in (sent.tolist(), sent.ravel().tolist()):
        got = from_json(form, datatype, shape)
        assert got.dtype == sent.dtype
        np.testing.assert_array_equal(got, sent)
    np.testing.assert_array_equal(to_json(sent), sent.ravel().tolist())


def test_null_is_a_missing_cell() -> None:
    """null is NaN among numbers, and no bytes among texts."""
    number, text = from_json([1, None], "FP64", [2]), from_json(["a", None], BYTES, [2])
    assert number[0] == 1
    assert math.isnan(number[1])
    assert text.tolist() == [b"a", b""]


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "said"),
    [
        (1.0, "FP32", [1], "should be a list"),
        ([1, 2, 3], "FP32", [2], "has 2 elements, the data have 3"),
        ([[1, 2], [3, 4], [5, 6]], "FP32", [2, 3], "not nested"),
        ([[1, 2, 3], [4, 5]], "FP32", [2, 3], "not nested"),
        ([[1, 2], 3], "FP32", [2, 2], "not nested"),
        ([[1]], "FP32", [1], "element 0 is not FP32"),
        ([[1]], "FP32", [], "not nested"),
        ([1, "2"], "FP32", [2], "element 1 is not FP32"),
        ([1, True], "FP32", [2], "element 1 is not FP32"),
        ([1, {}], "FP32", [2], "element 1 is not FP32"),
        ([1e39], "FP32", [1], "out of the range of FP32"),
        ([10**400], "FP64", [1], "out of the range of FP64"),
        ([math.inf], "FP64", [1], "out of the range of FP64"),
        ([1.0], "INT64", [1], "element 0 is not INT64"),
        ([None], "INT64", [1], "element 0 is not INT64"),
        ([2**63], "INT64", [1], "out of the range of INT64"),
        ([-1], "UINT8", [1], "out of the range of UINT8"),
        ([1], "BOOL", [1], "element 0 is not BOOL"),
        ([1], BYTES, [1], "element 0 is not BYTES"),
        (["\ud800"], BYTES, [1], "surrogate"),
        ([0.5], "FP16", [1], "binary"),
    ],
)
def test_json_that_does_not_fit_is_refused(data: Any, datatype: str, shape: list[int], said: str) -> None:
    """Data of another length, nesting, type or range are refused with the reason."""
    with pytest.raises(TensorError, match=said):
        from_json(data, datatype, shape)


@pytest.mark.parametrize(
    ("raw", "datatype", "shape", "said"),
    [
        (b"1234", "FP32", [2], "is 8 bytes, got 4"),
        (b"123456789", "FP32", [2], "is 8 bytes, got 9"),
        (b"\2\0\0", BYTES, [1], "cut short"),
        (b"\2\0\0\0a", BYTES, [1], "cut short"),
        (b"\xff\xff\xff\xffa", BYTES, [1], "cut short"),
        (b"\1\0\0\0a", BYTES, [2], "has 2 elements, the data have 1"),
        (b"\0\0\0\0" * 3, BYTES, [2], "has 2 elements, the data have more"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(raw: bytes, datatype: str, shape: list[int], said: str) -> None:
    """Raw bytes that are too few, too many or cut short are refused with the reason."""
    with pytest.raises(TensorError, match=said):
        from_raw(memoryview(raw), datatype, shape)
