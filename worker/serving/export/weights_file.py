"""A safetensors file of the weights, with the network and the encoders in its metadata."""

import json

from worker.build.layers import LAYERS
from worker.records.weights import to_bytes
from worker.serving.export.trained import Trained

FORMAT = "gradmill"


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
