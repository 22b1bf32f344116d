"""The OpenAPI 3.1 document, made from the declarations of the operations and the models that validate requests."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from service.access import OPEN
from service.operations import JSON, Answer, Operation
from service.schemas.common import ProblemDocument
from worker.runtime import version

FORM = "multipart/form-data"
PARAMETER = re.compile(r"<(?:([a-z]+):)?([a-z_]+)>")
CONVERTERS = {"": "string", "int": "integer"}
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
            "responses": {"Problem": _problem(references)},
        },
    }


def _operation(operation: Operation, references: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{operation.tag}_{operation.name}",
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": {str(status): _answer(known, references) for status, known in operation.answers.items()}
        | {"default": _refusal(operation, references)},
    }
    if operation.policy == OPEN:
        described["security"] = []
    else:
        described["x-scope"] = operation.policy
    body = operation.body or operation.documented_body
    accepts = operation.accepts or ((JSON,) if body else ())
    if accepts:
        content = {}
        for media_type in accepts:
            content[media_type] = {"schema": _body(media_type, references[body, "validation"] if body else None)}
        described["requestBody"] = {"required": body is not None, "content": content}
    return described


def _body(media_type: str, described: dict[str, Any] | None) -> dict[str, Any]:
    """Return the schema of a body. A form has a file part and, if `described` is given, a JSON part with it."""
    if media_type == FORM:
        parts: dict[str, Any] = {"file": {"type": "string", "contentMediaType": "application/octet-stream"}}
        return {
            "type": "object",
            "required": ["file"],
            "properties": parts | ({"description": described} if described else {}),
        }
    return described if media_type == JSON and described else {}


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": CONVERTERS[converter]}}
        for converter, name in PARAMETER.findall(operation.path)
    ]
    if operation.query is not None:
        schema = operation.query.model_json_schema()
        found += [
            {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": described}
            for name, described in schema["properties"].items()
        ]
    found += [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in operation.headers.items()
    ]
    return found


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
    return {} if media_type == JSON else {"type": "string"}


def _refusal(operation: Operation, references: dict[Any, Any]) -> dict[str, Any]:
    if operation.refusal is None:
        return {"$ref": "#/components/responses/Problem"}
    schema = references[operation.refusal, "serialization"]
    return {"description": "A refusal.", "content": {JSON: {"schema": schema}}}


def _problem(references: dict[Any, Any]) -> dict[str, Any]:
    schema = references[ProblemDocument, "serialization"]
    return {"description": "A problem.", "content": {"application/problem+json": {"schema": schema}}}
