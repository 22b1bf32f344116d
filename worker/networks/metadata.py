"""The metadata in the files that we write: texts by name with the network, the encoders, and their origin."""

import json
from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic import ValidationError

from worker.data.encoders import Encoders
from worker.errors import SpecError, WeightsFileError
from worker.networks.layers import LAYERS
from worker.networks.trained import Origin, to_columns
from worker.specs.imports import Description
from worker.specs.network import ResolvedLayer

FORMAT = "gradmill"

T = TypeVar("T")


def write_metadata(origin: Origin) -> dict[str, str]:
    """Return the metadata, with the job's id if a job made the weights. Documents are written as JSON."""
    columns = to_columns(origin.architecture.layers, origin.architecture.encoders)
    metadata = {
        "format": FORMAT,
        "epoch": str(origin.epoch),
        "network": json.dumps(columns["network"]),
        "encoders": json.dumps(columns["encoders"]),
    }
    return metadata if origin.job_id is None else metadata | {"job_id": origin.job_id}


def is_ours(metadata: Mapping[str, str], description: Description | None) -> bool:
    """Return whether we wrote the file. Raises SpecError if we did and the client describes it too."""
    if metadata.get("format") != FORMAT:
        return False
    if description is not None:
        raise SpecError("", "must be left out: the file describes itself")
    return True


def read_metadata(metadata: Mapping[str, str]) -> tuple[list[ResolvedLayer], Encoders]:
    """Return the layers and encoders. Raises WeightsFileError."""
    return _read(metadata, "network", LAYERS.validate_json), _read(metadata, "encoders", Encoders.model_validate_json)


def _read(metadata: Mapping[str, str], name: str, validate: Callable[[str], T]) -> T:
    try:
        return validate(metadata.get(name, ""))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = "/".join(map(str, (name, *fault["loc"])))
        raise WeightsFileError(f"its metadata can't be read: {where[:100]}: {fault['msg'][:200]}") from error
