"""Inference by the Open Inference Protocol, version 2: tensors in, tensors out, as JSON or raw.

Sources: kserve/open-inference-protocol, inference_rest.md; triton-inference-server/server,
docs/protocol/extension_binary_data.md and extension_classification.md.
"""

import time
from typing import Any

from flask import Response, request

from service.bodies import compressed, read_body
from service.context import parts, project_id
from service.open_inference import schemas
from service.open_inference.inputs import take_inputs
from service.open_inference.messages import HEADER_LENGTH, Asked, Told, read_inference, write_inference
from service.open_inference.server_routes import NO_MODEL
from service.open_inference.signature import Described, classified, output_tensor, outputs_of
from service.open_inference.statistics import Key
from service.operations import JSON, Answer, Operations
from service.predict.addresses import Addressed
from service.problems import Problem
from worker.networks.outputs import Outputs

operations = Operations("inference")

RAW = "application/octet-stream"
INFER: dict[str, Any] = {
    "policy": "models:predict",
    "refusal": schemas.Refused,
    "accepts": (JSON, RAW),
    "documented_body": schemas.InferRequest,
    "headers": {
        HEADER_LENGTH: "How many bytes of the body are JSON, if raw tensors follow it.",
        "Content-Encoding": "gzip or deflate.",
    },
    "answers": {
        200: Answer(
            "The outputs; as raw tensors behind the JSON where the request says so.",
            schemas.Inferred,
            (JSON, RAW),
            {HEADER_LENGTH: "How many bytes of the body are JSON, if raw tensors follow it."},
        ),
        400: Answer("The request does not fit the model.", schemas.Refused),
        404: NO_MODEL,
    },
}
"What both routes have in common."


@operations.declare("POST", "/v2/models/<name>/infer", **INFER)
def infer(name: str) -> Response:
    """Infer by a model's newest version; NAME.encoded takes rows that are encoded already."""
    return _infer(name, None)


@operations.declare("POST", "/v2/models/<name>/versions/<version>/infer", **INFER)
def infer_by_version(name: str, version: str) -> Response:
    """Infer by a version, by its number or an alias."""
    return _infer(name, version)


def _infer(name: str, version: str | None) -> Response:
    began = time.perf_counter_ns()
    addressed = parts().addresses.find(project_id(), name, version)
    served = addressed.served
    key = Key(project_id(), served.name or name, served.version or 0, addressed.encoded)
    try:
        return _answered(addressed, key, began)
    except Exception:
        parts().statistics.failed(key, time.perf_counter_ns() - began)
        raise


def _answered(addressed: Addressed, key: Key, began: int) -> Response:
    predictor = addressed.served.predictor
    inference = read_inference(read_body(), request.headers.get(HEADER_LENGTH))
    described = {output.name: output for output in outputs_of(predictor)}
    asked = inference.outputs or [Asked(name, inference.binary, None) for name in described]
    _check_outputs(asked, described)
    limit = parts().settings.predict_rows_limit
    encoded = take_inputs(predictor, inference.inputs, encoded=addressed.encoded, rows_limit=limit)
    took = time.perf_counter_ns()
    outputs = predictor.predict(encoded)
    computed = time.perf_counter_ns()
    response = _told(addressed, inference.id, [_output(outputs, each, described[each.name]) for each in asked])
    parts().statistics.succeeded(
        key, len(outputs.values), began=began, took=took, computed=computed, told=time.perf_counter_ns()
    )
    return response


def _check_outputs(asked: list[Asked], described: dict[str, Described]) -> None:
    for name, _, classes in asked:
        if name not in described:
            raise Problem(400, f"the output {name!r}: the model has none of this name; it has {', '.join(described)}")
        if classes is not None and not described[name].labels:
            raise Problem(400, f"the output {name!r}: classification is of numbers")


def _output(outputs: Outputs, asked: Asked, described: Described) -> Told:
    tensor = output_tensor(outputs, asked.name)
    if asked.classes is not None:
        tensor = classified(tensor, described.labels, asked.classes)
    return Told(asked.name, tensor, asked.binary)


def _told(addressed: Addressed, request_id: str | None, outputs: list[Told]) -> Response:
    document = {"model_name": addressed.name, "model_version": str(addressed.served.version)}
    if request_id is not None:
        document["id"] = request_id
    body, header_length = write_inference(document, outputs)
    response = Response(body, content_type=JSON if header_length is None else RAW)
    if header_length is not None:
        response.headers[HEADER_LENGTH] = str(header_length)
    return compressed(response)
