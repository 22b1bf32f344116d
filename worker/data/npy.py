"""Bytes of an NPY file <-> one array of numbers. The header is checked before anything is allocated for it."""

import io
import math
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from worker.errors import DataError, TableSizeError
from worker.settings import Limits

NPY = "application/x-npy"

DTYPES = {np.dtype(kind) for kind in ("<f2", "<f4", "<f8", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8")}
# what NumPy may raise for a bad header, which it parses as a Python literal, or with Python's tokenizer
FAULTS = (ValueError, KeyError, EOFError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError)
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npy(content: bytes, limits: Limits, *, cells_limit: int) -> NDArray[np.float64]:
    """Return the numbers, (rows, columns), with NaN for a missing cell. Raises DataError, or TableSizeError.

    A header of 128 bytes may claim any size, and np.load would allocate it. So the claimed size must equal the number
    of bytes that follow. Pickles, structures and text are refused.
    """
    file = io.BytesIO(content)
    try:
        shape, _, dtype = HEADERS[npy.read_magic(file)](file)
    except FAULTS as error:
        raise DataError("this is not an NPY file of version 1 or 2") from error
    if any(type(length) is not int for length in shape):
        # NumPy lets True and False through, which count as 1 and 0
        raise DataError("the array's shape must be of integers")
    if dtype not in DTYPES:
        raise DataError("the array must be of integers or floats, little-endian")
    if len(shape) != 2:
        raise DataError(f"the array must have 2 dimensions, rows and columns; it has {len(shape)}")
    # Python's integers: a product of a client's numbers can't overflow
    claimed, there = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if claimed != there or min(shape) < 0:
        raise DataError(f"the header claims {claimed} bytes of numbers; {there} follow")
    if shape[0] > limits.rows or shape[1] > limits.columns:
        raise DataError(f"the array is larger than {limits.rows} rows or {limits.columns} columns")
    if math.prod(shape) > cells_limit:
        raise TableSizeError(f"the array has {math.prod(shape)} numbers, more than the {cells_limit} read at once")
    file.seek(0)
    array: NDArray[Any] = np.load(file, allow_pickle=False)
    return array.astype(np.float64, copy=False)


def write_npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
