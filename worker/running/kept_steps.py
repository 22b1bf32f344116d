"""A step that was kept -> the file that is stored of it."""

import hashlib
import json
from typing import Any, NamedTuple

from worker.backprop.replay import Taken
from worker.records.weights import to_bytes

AFTER = "after."


class StepFile(NamedTuple):
    """weights_sha256: of the bytes of every `after.` array, in the order of layers, and of arrays within each."""

    number: int
    epoch: int
    weights_sha256: str
    content: bytes


def step_file(taken: Taken, network: list[dict[str, Any]]) -> StepFile:
    """safetensors, with what the arrays alone do not say in its metadata. network: the resolved layers."""
    digest = hashlib.sha256()
    after = [name for name in taken.arrays if name.startswith(AFTER)]
    for name in after:
        digest.update(taken.arrays[name].tobytes())
    metadata = {
        "format": "gradmill step",
        "step": str(taken.number),
        "epoch": str(taken.epoch),
        "learning_rate": repr(taken.learning_rate),
        "optimizer_steps": str(taken.optimizer_steps),
        "network": json.dumps(network),
        "weights": json.dumps([name.removeprefix(AFTER) for name in after]),
        "weights_sha256": digest.hexdigest(),
    }
    return StepFile(taken.number, taken.epoch, digest.hexdigest(), to_bytes(taken.arrays, metadata))
