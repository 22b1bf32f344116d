"""NPY bytes: read if they are what they claim, refused before anything is allocated if not."""

import io
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest

from worker.data.npy import read_npy, write_npy
from worker.errors import DataError
from worker.settings import Limits


def saved(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def claiming(header: str, content: bytes = b"", version: int = 1) -> bytes:
    """Return an NPY file with this header."""
    text = header.encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + content


HEADER = "{'descr': '<f8', 'fortran_order': False, 'shape': %s, }"


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i8", "u1", "u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_are_read_as_numpy_wrote_them(dtype: str, order: Any) -> None:
    """Integers and floats of each width, in either memory order, become the same float64 numbers."""
    array = np.arange(6, dtype=dtype).reshape(2, 3).copy(order=order)
    read = read_npy(saved(array), Limits(), cells_limit=10_000)
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, array)
    np.testing.assert_array_equal(np.load(io.BytesIO(write_npy(read))), read)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an NPY file"),
        (b"\x93NUMPY\x01\x00", "not an NPY file"),
        (b"PK\x03\x04" + b"\0" * 200, "not an NPY file"),
        (claiming(HEADER % "(2, 3)", b"\0" * 48, version=3), "not an NPY file"),
        (claiming("__import__('os')", b""), "not an NPY file"),
        (claiming("(" * 5000, b""), "not an NPY file"),
        (claiming(HEADER % "(65536, 65536)"), "claims 34359738368 bytes"),
        (claiming(HEADER % "(4294967296, 4294967296)"), "claims 147573952589676412928 bytes"),
        (claiming(HEADER % "(-1, -1)", b"\0" * 8), "claims"),
        (claiming(HEADER % "(2, 3)", b"\0" * 47), "47 follow"),
        (claiming(HEADER % "(2, 3)", b"\0" * 49), "49 follow"),
        (saved(np.zeros(3)), "2 dimensions"),
        (saved(np.zeros((1, 1, 1))), "2 dimensions"),
        (saved(np.zeros((1, 2), dtype=">f8")), "little-endian"),
        (saved(np.zeros((1, 2), dtype=bool)), "integers or floats"),
        (saved(np.array([["a"]])), "integers or floats"),
        (saved(np.zeros((1, 2), dtype="c16")), "integers or floats"),
        (saved(np.zeros((1, 2), dtype=[("a", "f8")])), "integers or floats"),
        (saved(np.array([[{}]], dtype=object), allow_pickle=True), "integers or floats"),
        (claiming(HEADER % "(True, 4)", b"\0" * 32), "shape must be of integers"),
        (saved(np.zeros((1, 10_001))), "larger than"),
        (saved(np.zeros((101, 100), dtype="i1")), "more than the 10000 read at once"),
    ],
)
def test_what_lies_or_is_no_array_of_numbers_is_refused(content: bytes, said: str) -> None:
    """A header that claims too much, or another type, is refused before memory is allocated for it."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=said):
            read_npy(content, Limits(), cells_limit=10_000)
        # Python's parser takes some megabytes for the deepest header that it is given
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
