"""Counts the parts of an ONNX file before it is parsed: an empty node has two bytes there, and 150 in memory."""

from collections.abc import Iterator

from worker.errors import WeightsFileError

GRAPH, NODE, INITIALIZER = 7, 1, 5
"The numbers of ModelProto.graph, GraphProto.node and GraphProto.initializer. Source: onnx/onnx, onnx/onnx.proto."
PARTS_LIMIT = 100_000
"Nodes and constants: more than an ensemble of networks of 256 layers has."
WIDTHS = {1: 8, 5: 4}
"The bytes of a field by its wire type. Source: protobuf.dev, Encoding."
VARINT, LENGTH_DELIMITED = 0, 2


def check_parts(content: bytes) -> None:
    """Raise WeightsFileError for a file with too many nodes or constants, or one that is not protobuf."""
    count = 0
    try:
        for number, start, end in _fields(content, 0, len(content)):
            count += 1
            if number == GRAPH:
                for inner, _, _ in _fields(content, start, end):
                    count += inner in (NODE, INITIALIZER)
                    _check(count)
            _check(count)
    except (IndexError, KeyError) as error:
        raise WeightsFileError("is not an ONNX file") from error


def _check(count: int) -> None:
    if count > PARTS_LIMIT:
        raise WeightsFileError(f"has more than {PARTS_LIMIT} nodes and constants")


def _fields(content: bytes, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number, the start and the end of each field of a message. Raises IndexError or KeyError."""
    while place < end:
        tag, place = _varint(content, place)
        kind = tag & 7
        if kind == VARINT:
            _, after = _varint(content, place)
        elif kind == LENGTH_DELIMITED:
            length, place = _varint(content, place)
            after = place + length
        else:
            after = place + WIDTHS[kind]
        if after > end:
            raise IndexError
        yield tag >> 3, place, after
        place = after


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """Return the number and the place after it. It has seven bits a byte, the lowest first."""
    number = shift = 0
    while shift < 64:
        byte = content[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
        shift += 7
    raise IndexError
