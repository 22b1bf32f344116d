"""Writes and reads safetensors files: ours, with network and encoders in the metadata, or a PyTorch state_dict."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from worker.backprop.arrays import Floats
from worker.errors import SpecError, WeightsFileError
from worker.networks.dense_chain import DenseFound, from_chain
from worker.networks.file_checks import checked
from worker.networks.metadata import is_ours, read_metadata, write_metadata
from worker.networks.trained import Origin, Trained
from worker.records.weights import HEADER_BYTES_LIMIT, LENGTH_BYTES, METADATA, read_header
from worker.settings import Limits
from worker.specs.imports import Description
from worker.specs.network import Activation

ARRAYS_LIMIT = 100_000
"More than an ensemble of 64 networks of 256 layers has, with the braces in the metadata."
NAME = re.compile(r"^(?P<stem>.{0,150}?)(?P<number>\d{1,6})\.(?P<kind>weight|bias)$", re.ASCII)


def to_safetensors(origin: Origin, stored: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the file in parts: the arrays, with everything else that predicting needs in the metadata.

    stored: the parts of the file of arrays that the record has. Only its header is changed, so that a network of any
        size takes no memory.
    """
    metadata = write_metadata(origin)
    if origin.spec is not None:
        metadata["spec"] = json.dumps(origin.spec)
    parts = iter(stored)
    header, begun = read_header(parts)
    text = json.dumps(header | {METADATA: metadata}, separators=(",", ":")).encode()
    # the arrays are aligned to eight bytes
    text += b" " * (-len(text) % LENGTH_BYTES)
    yield len(text).to_bytes(LENGTH_BYTES, "little") + text + begun
    yield from parts


def from_safetensors(content: bytes, description: Description | None, limits: Limits) -> Trained:
    """Return the file's network. Raises WeightsFileError, and SpecError for a description that does not fit."""
    _check_header(content)
    try:
        arrays: dict[str, Any] = safetensors_numpy.load(content)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsFileError("is not a safetensors file of numbers that NumPy has") from error
    for name, array in arrays.items():
        if array.dtype not in (np.float16, np.float32, np.float64):
            raise WeightsFileError(f"{name[:64]} must be float16, float32 or float64, got {array.dtype}")
    metadata = _metadata(content)
    if is_ours(metadata, description):
        return checked(*read_metadata(metadata), arrays, limits)
    description = description or Description()
    return from_chain(_layers(arrays, description), description, limits)


def _check_header(content: bytes) -> None:
    """Raise WeightsFileError for a header that would be large once it is parsed: it names each array, and is JSON."""
    length = int.from_bytes(content[:8], "little")
    if length > HEADER_BYTES_LIMIT or content.count(b"{", 8, 8 + length) > ARRAYS_LIMIT:
        raise WeightsFileError(f"has a header of more than {HEADER_BYTES_LIMIT} bytes or {ARRAYS_LIMIT} arrays")


def _metadata(content: bytes) -> dict[str, str]:
    # the library has checked the header: its length, then JSON with the metadata in it
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] | None = json.loads(content[8 : 8 + length]).get(METADATA)
    return found or {}


def _layers(arrays: Mapping[str, Floats], description: Description) -> list[DenseFound]:
    """Return the linear layers of a state_dict in the order of their numbers: 0.weight, 0.bias, 2.weight, ..."""
    parts: dict[int, dict[str, Floats]] = {}
    stems = set()
    for name, array in arrays.items():
        match = NAME.fullmatch(name)
        if match is None:
            raise WeightsFileError(f"{name[:64]!r} is neither N.weight nor N.bias of a linear layer")
        stems.add(match["stem"])
        parts.setdefault(int(match["number"]), {})[match["kind"]] = array
    if len(stems) > 1 or len(arrays) != sum(map(len, parts.values())):
        raise WeightsFileError("its layers must have the same name except for their numbers, which give their order")
    stem = next(iter(stems), "")
    activations = description.activations
    if activations is None or len(activations) != len(parts):
        given = "nothing" if activations is None else len(activations)
        raise SpecError("/activations", f"must be {len(parts)}, one for each layer of the file, got {given}")
    return [
        _layer(f"{stem}{number}", parts[number], activation)
        for number, activation in zip(sorted(parts), activations, strict=True)
    ]


def _layer(name: str, part: Mapping[str, Floats], activation: Activation) -> DenseFound:
    """Return the layer of these arrays. PyTorch's weight is (units, inputs), the transpose of w."""
    weight = part.get("weight")
    if weight is None or weight.ndim != 2:
        raise WeightsFileError(f"{name[:64]}.weight must be a matrix: only linear layers can be imported")
    return DenseFound(f"{name}.weight", weight.T, part.get("bias", np.zeros(len(weight), weight.dtype)), activation)
