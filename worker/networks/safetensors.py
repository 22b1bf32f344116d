"""A safetensors file: one of our own, with its network and encoders in the metadata, or a PyTorch state_dict."""

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
from pydantic import ValidationError
from safetensors import numpy as safetensors_numpy

from worker.backprop.arrays import Floats
from worker.data.encoders import Encoders
from worker.errors import SpecError, WeightsFileError
from worker.networks.chain import DenseFound, from_chain
from worker.networks.imported import Imported, checked, described
from worker.networks.layers import LAYERS
from worker.networks.trained import Trained
from worker.records.weights import to_bytes
from worker.settings import Limits
from worker.specs.imports import Description

FORMAT = "gradmill"

NAME = re.compile(r"^(?P<stem>.{0,150}?)(?P<number>\d{1,6})\.(?P<kind>weight|bias)$", re.ASCII)


def from_safetensors(content: bytes, description: Description | None, limits: Limits) -> Imported:
    """Raises WeightsFileError, and SpecError for a description that does not fit."""
    try:
        arrays: dict[str, Any] = safetensors_numpy.load(content)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsFileError("is no safetensors file of numbers that NumPy has") from error
    for name, array in arrays.items():
        if array.dtype not in (np.float16, np.float32, np.float64):
            raise WeightsFileError(f"{name[:64]} must be float16, float32 or float64, got {array.dtype}")
    metadata = _metadata(content)
    if metadata.get("format") == FORMAT:
        if description is not None:
            raise SpecError("", "must be left out: the file describes itself")
        return _own(arrays, metadata, limits)
    return from_chain(_layers(arrays, description or Description()), description or Description(), limits)


def _metadata(content: bytes) -> dict[str, str]:
    # the library has checked the header: its length, then JSON with the metadata in it
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return found


def _own(arrays: Mapping[str, Floats], metadata: Mapping[str, str], limits: Limits) -> Imported:
    try:
        layers = LAYERS.validate_json(metadata.get("network", ""))
        encoders = Encoders.model_validate_json(metadata.get("encoders", ""))
    except ValidationError as error:
        raise WeightsFileError(f"its metadata can't be read: {described(error)}") from error
    return checked(layers, encoders, arrays, limits)


def _layers(arrays: Mapping[str, Floats], description: Description) -> list[DenseFound]:
    """The linear layers of a state_dict in the order of their numbers: 0.weight, 0.bias, 2.weight, ..."""
    parts: dict[int, dict[str, Floats]] = {}
    stems = set()
    for name, array in arrays.items():
        match = NAME.fullmatch(name)
        if match is None:
            raise WeightsFileError(f"{name[:64]!r} is neither N.weight nor N.bias of a linear layer")
        stems.add(match["stem"])
        parts.setdefault(int(match["number"]), {})[match["kind"]] = array
    if len(stems) > 1 or len(arrays) != sum(map(len, parts.values())):
        raise WeightsFileError("its layers must be named alike but for their numbers, which tell their order")
    stem = next(iter(stems), "")
    activations = description.activations
    if activations is None or len(activations) != len(parts):
        said = "nothing" if activations is None else len(activations)
        raise SpecError("/activations", f"must be {len(parts)}, one for each layer of the file, got {said}")
    return [
        _layer(f"{stem}{number}", parts[number], activation)
        for number, activation in zip(sorted(parts), activations, strict=True)
    ]


def _layer(name: str, part: Mapping[str, Floats], activation: str) -> DenseFound:
    """PyTorch has w as (units, inputs)."""
    weight = part.get("weight")
    if weight is None or weight.ndim != 2:
        raise WeightsFileError(f"{name[:64]}.weight must be a matrix: only linear layers can be taken")
    return DenseFound(f"{name}.weight", weight.T, part.get("bias", np.zeros(len(weight), weight.dtype)), activation)


def to_safetensors(trained: Trained) -> bytes:
    """The metadata's values are text, those that are documents JSON: what a predictor is built from."""
    metadata = {
        "format": FORMAT,
        "epoch": str(trained.epoch),
        "network": json.dumps(LAYERS.dump_python(list(trained.layers), mode="json")),
        "encoders": trained.encoders.model_dump_json(),
    }
    if trained.job_id is not None:
        metadata |= {"job_id": trained.job_id, "spec": json.dumps(trained.spec)}
    return to_bytes(dict(trained.arrays), metadata)
