"""Routes for inference with the Open Inference Protocol, version 2: tensors in, tensors out, as JSON or raw bytes.

Sources: kserve/open-inference-protocol, inference_rest.md; triton-inference-server/server,
docs/protocol/extension_binary_data.md and extension_classification.md.
"""

import time
from typing import Any

from service.bodies import compressed, read_body
from service.context import parts, project_id
from service.open_inference import schemas
from service.open_inference.infer_body import (
    HEADER_LENGTH,
    AnsweredOutput,
    RequestedOutput,
    read_inference,
    write_inference,
)
from service.open_inference.inputs import encode_inputs
from service.open_inference.server_routes import NO_MODEL
from service.open_inference.signature import TensorDescription, describe_outputs, highest_as_texts, output_tensor
from service.open_inference.statistics import CountedModel
from service.operations import Answer, Operations
from service.predict.addresses import AddressedModel
from service.predict.requests import check_rows
from service.problems import Problem
from service.reply import JSON, Reply
from service.request import request
from worker.networks.outputs import Outputs

operations = Operations("inference")

RAW = "application/octet-stream"
INFER: dict[str, Any] = {
    "policy": "models:predict",
    "hot": True,
    "refusal": schemas.Refused,
    "accepts": (JSON, RAW),
    "documented_body": schemas.InferRequest,
    "headers": {
        HEADER_LENGTH: "How many bytes of the body are JSON, if raw tensors follow it.",
        "Content-Encoding": "gzip or deflate.",
    },
    "answers": {
        200: Answer(
            "The outputs; as raw tensors after the JSON if the request asks for that.",
            schemas.Inferred,
            (JSON, RAW),
            {HEADER_LENGTH: "How many bytes of the body are JSON, if raw tensors follow it."},
        ),
        400: Answer("The request does not fit the model.", schemas.Refused),
        404: NO_MODEL,
    },
}
"The part of the declaration that both routes share."


@operations.declare("POST", "/v2/models/<name>/infer", **INFER)
def infer(name: str) -> Reply:
    """Infer with a model's newest version; NAME.encoded takes rows that are encoded already."""
    return _infer(name, None)


@operations.declare("POST", "/v2/models/<name>/versions/<version>/infer", **INFER)
def infer_by_version(name: str, version: str) -> Reply:
    """Infer with a version, by its number or an alias."""
    return _infer(name, version)


def _infer(name: str, version: str | None) -> Reply:
    began = time.perf_counter_ns()
    model = parts().addresses.find(project_id(), name, version)
    counted = CountedModel(project_id(), model.found.name or name, model.found.version or 0, model.encoded)
    try:
        return _answered(model, counted, began)
    except Exception:
        parts().statistics.failed(counted, time.perf_counter_ns() - began)
        raise


def _answered(model: AddressedModel, counted: CountedModel, began: int) -> Reply:
    predictor = model.found.predictor
    inference = read_inference(read_body(), request().headers.get(HEADER_LENGTH.lower()))
    described = {output.name: output for output in describe_outputs(predictor)}
    requested = inference.outputs or [RequestedOutput(name, inference.binary, None) for name in described]
    _check_outputs(requested, described)
    encoded = encode_inputs(predictor, inference.inputs, encoded=model.encoded)
    check_rows(predictor, len(encoded.x), ranked=max(output.classes or 0 for output in requested))
    read = time.perf_counter_ns()
    outputs = predictor.predict(encoded)
    computed = time.perf_counter_ns()
    answered = [_answered_output(outputs, output, described[output.name]) for output in requested]
    response = _write_answer(model, inference.id, answered)
    parts().statistics.succeeded(
        counted, len(outputs.values), began=began, read=read, computed=computed, written=time.perf_counter_ns()
    )
    return response


def _check_outputs(requested: list[RequestedOutput], described: dict[str, TensorDescription]) -> None:
    for name, _, classes in requested:
        if name not in described:
            raise Problem(400, f"the output {name!r}: the model has none of this name; it has {', '.join(described)}")
        if classes is not None and not described[name].labels:
            raise Problem(400, f"the output {name!r}: classification needs numbers")


def _answered_output(outputs: Outputs, requested: RequestedOutput, described: TensorDescription) -> AnsweredOutput:
    tensor = output_tensor(outputs, requested.name)
    if requested.classes is not None:
        tensor = highest_as_texts(tensor, described.labels, requested.classes)
    return AnsweredOutput(requested.name, tensor, requested.binary)


def _write_answer(model: AddressedModel, request_id: str | None, outputs: list[AnsweredOutput]) -> Reply:
    document = {"model_name": model.name, "model_version": str(model.found.version)}
    if request_id is not None:
        document["id"] = request_id
    body, header_length = write_inference(document, outputs)
    body, headers = compressed(body)
    if header_length is None:
        return Reply(body, content_type=JSON, headers=headers)
    return Reply(body, content_type=RAW, headers=headers | {HEADER_LENGTH: str(header_length)})
