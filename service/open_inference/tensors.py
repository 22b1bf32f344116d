"""One tensor of the Open Inference Protocol <-> a NumPy array: datatypes, raw bytes, JSON data.

A BYTES tensor is an array of Python bytes. Sources: kserve/open-inference-protocol, inference_rest.md;
triton-inference-server/server, docs/protocol/extension_binary_data.md.
"""

import struct
from collections.abc import Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[Any]

BYTES = "BYTES"
DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    BYTES: np.dtype(np.object_),
}
DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items()}
CELLS: dict[str, set[type]] = {
    "b": {bool},
    "u": {int},
    "i": {int},
    "f": {int, float, type(None)},
    "O": {str, type(None)},
}
"The JSON types that a cell may have, by the kind of the array. null is a missing cell."
LENGTH = struct.Struct("<I")


class TensorError(Exception):
    """Data do not fit the datatype and shape that came with them. The message is one sentence for the client."""


def datatype_of(tensor: Tensor) -> str:
    return DATATYPES[tensor.dtype]


def from_raw(raw: memoryview, datatype: str, shape: Sequence[int]) -> Tensor:
    """Return the tensor in raw bytes: little-endian, row-major, unpadded. Raises TensorError.

    The tensor shares memory with the bytes if they are aligned.
    """
    if datatype == BYTES:
        return _array_of_bytes(_split(raw, prod(shape)), shape)
    dtype = DTYPES[datatype]
    expected = prod(shape) * dtype.itemsize
    if len(raw) != expected:
        raise TensorError(f"{datatype} of shape {list(shape)} is {expected} bytes, got {len(raw)}")
    if datatype == "BOOL":
        # NumPy's truth values must be 0 or 1
        return np.frombuffer(raw, np.uint8).astype(np.bool_).reshape(shape)
    tensor: Tensor = np.frombuffer(raw, dtype).reshape(shape)
    # an unaligned matrix is multiplied at half the speed
    return tensor if tensor.flags.aligned else tensor.copy()


def _split(raw: memoryview, count: int) -> list[bytes]:
    """Return the elements of a BYTES tensor. Each is preceded by its length, in 4 bytes."""
    elements, place = [], 0
    while place < len(raw):
        start = place + LENGTH.size
        if start > len(raw):
            raise TensorError("the length of a BYTES element is cut short")
        (length,) = LENGTH.unpack_from(raw, place)
        place = start + length
        if place > len(raw):
            raise TensorError(f"a BYTES element of {length} bytes is cut short")
        elements.append(bytes(raw[start:place]))
        if len(elements) > count:
            break
    if len(elements) != count:
        more = "more" if len(elements) > count else str(len(elements))
        raise TensorError(f"the shape has {count} elements, the data have {more}")
    return elements


def from_json(data: Any, datatype: str, shape: Sequence[int]) -> Tensor:
    """Return the tensor in flat or nested lists. null is a missing cell: NaN, or no bytes. Raises TensorError."""
    if datatype == "FP16":
        raise TensorError("FP16 has no form in JSON; send it as binary data")
    cells, dtype = _flat(data, shape), DTYPES[datatype]
    allowed = CELLS[dtype.kind]
    if not allowed.issuperset(map(type, cells)):
        wrong = next(n for n, cell in enumerate(cells) if type(cell) not in allowed)
        raise TensorError(f"element {wrong} is not {datatype}")
    if datatype == BYTES:
        return _array_of_bytes([_encoded(cell, n) for n, cell in enumerate(cells)], shape)
    try:
        with np.errstate(over="ignore"):
            # None becomes NaN
            tensor = np.array(cells, np.float64 if dtype.kind == "f" else dtype).astype(dtype, copy=False)
    except OverflowError as error:
        raise TensorError(f"a number is out of the range of {datatype}") from error
    if dtype.kind == "f" and np.isinf(tensor).any():
        raise TensorError(f"element {int(np.isinf(tensor).argmax())} is out of the range of {datatype}")
    return tensor.reshape(shape)


def _flat(data: Any, shape: Sequence[int]) -> list[Any]:
    """Return the cells row by row. Nested lists must have the nesting of the shape."""
    if not isinstance(data, list):
        raise TensorError("data should be a list")
    cells = data
    if data and isinstance(data[0], list):
        if len(data) != next(iter(shape), None):
            raise TensorError(f"data are not nested as their shape {list(shape)}")
        for length in shape[1:]:
            if not all(isinstance(cell, list) and len(cell) == length for cell in cells):
                raise TensorError(f"data are not nested as their shape {list(shape)}")
            cells = list(chain.from_iterable(cells))
    if len(cells) != prod(shape):
        raise TensorError(f"the shape {list(shape)} has {prod(shape)} elements, the data have {len(cells)}")
    return cells


def _encoded(cell: str | None, n: int) -> bytes:
    try:
        return (cell or "").encode()
    except UnicodeEncodeError as error:
        raise TensorError(f"element {n} is half of a surrogate pair, which is not text") from error


def _array_of_bytes(elements: Sequence[bytes], shape: Sequence[int]) -> Tensor:
    tensor = np.empty(len(elements), np.object_)
    tensor[:] = elements
    return tensor.reshape(shape)


def array_of_texts(texts: Sequence[str]) -> Tensor:
    """Return the texts as a BYTES tensor of one dimension."""
    return _array_of_bytes([text.encode() for text in texts], (len(texts),))


def to_raw(tensor: Tensor) -> bytes:
    """Return the bytes that `from_raw` reads."""
    if tensor.dtype != np.object_:
        return tensor.tobytes()
    return b"".join(LENGTH.pack(len(element)) + element for element in tensor.flat)


def to_json(tensor: Tensor) -> list[Any]:
    """Return the elements row by row, as a flat list; BYTES as text."""
    if tensor.dtype == np.object_:
        return [element.decode() for element in tensor.flat]
    flat: list[Any] = tensor.ravel().tolist()
    return flat
