"""The OpenAPI 3.1 document, made from the declarations of the operations and the models that validate requests."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from service.access import OPEN
from service.operations import Answer, Operation
from service.parameters import PARAMETER, TEXT, parameters
from service.refusals import refusals
from service.reply import JSON
from service.schemas.common import ProblemDocument
from worker.runtime import version

FORM = "multipart/form-data"
PROBLEM = "application/problem+json"
BYTES: dict[str, Any] = {"type": "string", "format": "binary"}
EVENT = {
    "description": "One event.",
    "type": "object",
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
}
ANSWERS = {JSON: {}, "application/x-ndjson": TEXT, "text/event-stream": EVENT}
"The schemas of answers without a model, where they are neither text nor a file."
REFERENCE = "#/components/schemas/{model}"
Documented = tuple[type[BaseModel], JsonSchemaMode]


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the whole document as JSON values."""
    used: list[Documented] = [(ProblemDocument, "serialization")]
    for operation in operations:
        used += [(model, "validation") for model in (operation.body, operation.documented_body) if model]
        used += [(operation.refusal, "serialization")] if operation.refusal else []
        used += [(known.model, "serialization") for known in operation.answers.values() if known.model]
    references, definitions = models_json_schema(list(dict.fromkeys(used)), ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = PARAMETER.sub(r"{\2}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gradmill",
            "version": version(),
            "summary": "Back-propagation as a service.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [{"name": name} for name in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": definitions["$defs"],
        },
    }


def _operation(operation: Operation, references: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{operation.tag}_{operation.name}",
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": parameters(operation),
        "responses": _responses(operation, references),
    }
    if operation.policy == OPEN:
        described["security"] = []
    else:
        described["x-scope"] = operation.policy
    body = operation.body or operation.documented_body
    if operation.bodies:
        content = {}
        for media_type in operation.bodies:
            content[media_type] = {"schema": _body(media_type, references[body, "validation"] if body else None)}
        described["requestBody"] = {"required": not operation.optional_body, "content": content}
    return described


def _body(media_type: str, described: dict[str, Any] | None) -> dict[str, Any]:
    """Return the schema of a body. A form has a file part and, if `described` is given, a JSON part with it."""
    if media_type == FORM:
        return {
            "type": "object",
            "required": ["file"],
            "properties": {"file": BYTES} | ({"description": described} if described else {}),
            "additionalProperties": False,
        }
    return described if media_type == JSON and described else BYTES


def _responses(operation: Operation, references: dict[Any, Any]) -> dict[str, Any]:
    """Return the answers of an operation, declared or derived, by status."""
    answers = {status: _answer(known, references) for status, known in operation.answers.items()}
    refused = {status: _refusal(operation, text, references) for status, text in refusals(operation).items()}
    return {str(status): described for status, described in sorted((refused | answers).items())}


def _answer(known: Answer, references: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": known.description}
    if known.headers:
        described["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in known.headers.items()
        }
    if known.media_types:
        described["content"] = {
            media_type: {"schema": _schema(known, media_type, references)} for media_type in known.media_types
        }
    return described


def _schema(known: Answer, media_type: str, references: dict[Any, Any]) -> dict[str, Any]:
    if known.model is not None and media_type.endswith("json"):
        schema: dict[str, Any] = references[known.model, "serialization"]
        return schema
    return ANSWERS.get(media_type, TEXT if media_type.startswith("text/") else BYTES)


def _refusal(operation: Operation, description: str, references: dict[Any, Any]) -> dict[str, Any]:
    media_type = PROBLEM if operation.refusal is None else JSON
    schema = references[operation.refusal or ProblemDocument, "serialization"]
    return {"description": description, "content": {media_type: {"schema": schema}}}
