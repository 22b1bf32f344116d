"""A whole request of the Open Inference Protocol, JSON and raw tensors, and a whole answer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from service.bodies import read_json
from service.open_inference.schemas import InferInput, InferOutput, InferRequest
from service.open_inference.tensors import Tensor, TensorError, datatype_of, from_json, from_raw, to_json, to_raw
from service.parsing import validate
from service.problems import Problem

HEADER_LENGTH = "Inference-Header-Content-Length"


class Input(NamedTuple):
    """An input as it was sent. raw: its bytes behind the JSON, None where its data are in the JSON."""

    known: InferInput
    raw: memoryview | None

    @property
    def shape(self) -> list[int]:
        return self.known.shape

    def tensor(self) -> Tensor:
        """Read only now: its shape was seen to fit the model. Raises a Problem."""
        known = self.known
        try:
            if self.raw is not None:
                return from_raw(self.raw, known.datatype, known.shape)
            return from_json(known.data, known.datatype, known.shape)
        except TensorError as error:
            raise refused(known.name, str(error)) from error


class Asked(NamedTuple):
    """An output that is asked for. classes: so many of the highest, as text."""

    name: str
    binary: bool
    classes: int | None


class Inference(NamedTuple):
    """outputs: None for all of them; binary: how those that say nothing of it are sent."""

    id: str | None
    inputs: dict[str, Input]
    outputs: list[Asked] | None
    binary: bool


def refused(name: str, detail: str) -> Problem:
    return Problem(400, f"the input {name!r}: {detail}")


def read_inference(content: bytes, header_length: str | None) -> Inference:
    """The request in this body; its tensors are read when they are asked for. Raises a Problem.

    header_length: the header that says how many bytes of it are JSON; None: all.
    """
    length = _json_length(header_length, len(content))
    request = validate(InferRequest, read_json(content[:length]))
    inputs = _inputs(request.inputs, memoryview(content)[length:])
    binary = bool(request.parameters and request.parameters.binary_data_output)
    outputs = None if not request.outputs else [_asked(output, binary=binary) for output in request.outputs]
    if outputs and len({asked.name for asked in outputs}) != len(outputs):
        raise Problem(400, "an output is asked for twice")
    return Inference(request.id, inputs, outputs, binary)


def _json_length(header_length: str | None, length: int) -> int:
    if header_length is None:
        return length
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) <= 12):
        raise Problem(400, f"the header {HEADER_LENGTH} must be a number of bytes")
    if int(header_length) > length:
        raise Problem(400, f"the header {HEADER_LENGTH} says {header_length} bytes; the body has {length}")
    return int(header_length)


def _inputs(known: list[InferInput], binary: memoryview) -> dict[str, Input]:
    """The inputs by name, each with its part of the bytes behind the JSON, in the JSON's order."""
    inputs: dict[str, Input] = {}
    place = 0
    for each in known:
        if each.name in inputs:
            raise refused(each.name, "stands twice")
        size = each.parameters.binary_data_size if each.parameters else None
        if size is not None and each.data is not None:
            raise refused(each.name, "has both data and a binary_data_size")
        if size is None and each.data is None:
            raise refused(each.name, "has neither data nor a binary_data_size")
        if place + (size or 0) > len(binary):
            raise refused(each.name, f"is {size} bytes, of which the body has {len(binary) - place}")
        inputs[each.name] = Input(each, None if size is None else binary[place : place + size])
        place += size or 0
    if place != len(binary):
        raise Problem(400, f"{len(binary) - place} bytes are left over behind the inputs")
    return inputs


def _asked(output: InferOutput, *, binary: bool) -> Asked:
    own = output.parameters
    said = None if own is None else own.binary_data
    return Asked(output.name, binary if said is None else said, None if own is None else own.classification)


class Told(NamedTuple):
    name: str
    tensor: Tensor
    binary: bool


def write_inference(document: dict[str, Any], outputs: Sequence[Told]) -> tuple[bytes, int | None]:
    """The body of an answer, and how many bytes of it are JSON if raw tensors follow. document: its other members."""
    parts, described = [], []
    for name, tensor, binary in outputs:
        output: dict[str, Any] = {"name": name, "datatype": datatype_of(tensor), "shape": list(tensor.shape)}
        if binary:
            parts.append(to_raw(tensor))
            output["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            output["data"] = to_json(tensor)
        described.append(output)
    header = orjson.dumps(document | {"outputs": described})
    if not parts:
        return header, None
    return b"".join([header, *parts]), len(header)
