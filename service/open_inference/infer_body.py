"""Bodies of the Open Inference Protocol: a request (JSON, with raw tensors after it), an answer, and an error."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from service.json_text import parse_with_nan
from service.open_inference.schemas import InferInput, InferOutput, InferRequest
from service.open_inference.tensors import Tensor, TensorError, datatype_of, from_json, from_raw, to_json, to_raw
from service.parsing import validate
from service.problems import Problem
from service.reply import JSON, Reply

HEADER_LENGTH = "Inference-Header-Content-Length"


class Input(NamedTuple):
    """An input as it was sent. raw: its bytes, which come after the JSON; None if its data are in the JSON."""

    known: InferInput
    raw: memoryview | None

    @property
    def shape(self) -> list[int]:
        return self.known.shape

    def tensor(self) -> Tensor:
        """Return the tensor. Check the shape against the model first. Raises Problem."""
        known = self.known
        try:
            if self.raw is not None:
                return from_raw(self.raw, known.datatype, known.shape)
            return from_json(known.data, known.datatype, known.shape)
        except TensorError as error:
            raise input_problem(known.name, str(error)) from error


class RequestedOutput(NamedTuple):
    """An output that the client asks for.

    binary: whether to send it as raw bytes.
    classes: how many of its highest values to return, as texts; None for all values as numbers.
    """

    name: str
    binary: bool
    classes: int | None


class Inference(NamedTuple):
    """A request.

    outputs: the outputs that it asks for; None for all.
    binary: whether to send outputs as raw bytes unless they say otherwise.
    """

    id: str | None
    inputs: dict[str, Input]
    outputs: list[RequestedOutput] | None
    binary: bool


class AnsweredOutput(NamedTuple):
    """An output in an answer. binary: whether it is sent as raw bytes, after the JSON."""

    name: str
    tensor: Tensor
    binary: bool


def input_problem(name: str, detail: str) -> Problem:
    """Return the problem for an input that is refused."""
    return Problem(400, f"the input {name!r}: {detail}")


def read_inference(content: bytes, header_length: str | None) -> Inference:
    """Return the request in this body; its tensors are read later. Raises Problem.

    header_length: the header that says how many bytes of the body are JSON; None if all of them are.
    """
    length = _json_length(header_length, len(content))
    request = validate(InferRequest, parse_with_nan(content[:length]))
    inputs = _inputs(request.inputs, memoryview(content)[length:])
    binary = bool(request.parameters and request.parameters.binary_data_output)
    outputs = None if not request.outputs else [_requested(output, binary=binary) for output in request.outputs]
    if outputs and len({output.name for output in outputs}) != len(outputs):
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
    """Return the inputs by name, each with its part of the bytes after the JSON. The parts are in the JSON's order."""
    inputs: dict[str, Input] = {}
    place = 0
    for each in known:
        if each.name in inputs:
            raise input_problem(each.name, "is given twice")
        size = each.parameters.binary_data_size if each.parameters else None
        if size is not None and each.data is not None:
            raise input_problem(each.name, "has both data and a binary_data_size")
        if size is None and each.data is None:
            raise input_problem(each.name, "has neither data nor a binary_data_size")
        if place + (size or 0) > len(binary):
            raise input_problem(each.name, f"is {size} bytes, of which the body has {len(binary) - place}")
        inputs[each.name] = Input(each, None if size is None else binary[place : place + size])
        place += size or 0
    if place != len(binary):
        raise Problem(400, f"{len(binary) - place} bytes are left over behind the inputs")
    return inputs


def _requested(output: InferOutput, *, binary: bool) -> RequestedOutput:
    own = output.parameters
    own_binary = None if own is None else own.binary_data
    classes = None if own is None else own.classification
    return RequestedOutput(output.name, binary if own_binary is None else own_binary, classes)


def write_inference(document: dict[str, Any], outputs: Sequence[AnsweredOutput]) -> tuple[bytes, int | None]:
    """Return the body of an answer, and how many bytes of it are JSON; None if all are, because no output is raw.

    document: the members besides the outputs.
    """
    raw, described = [], []
    for name, tensor, binary in outputs:
        output: dict[str, Any] = {"name": name, "datatype": datatype_of(tensor), "shape": list(tensor.shape)}
        if binary:
            raw.append(to_raw(tensor))
            output["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            output["data"] = to_json(tensor)
        described.append(output)
    header = orjson.dumps(document | {"outputs": described})
    if not raw:
        return header, None
    return b"".join([header, *raw]), len(header)


def write_error(problem: Problem) -> Reply:
    """Return an error in this protocol's form. Source: kserve/open-inference-protocol, inference_rest.md."""
    return problem.foreign_reply(orjson.dumps({"error": problem.sentence}), JSON)
