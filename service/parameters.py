"""Describes the parameters of an operation for the OpenAPI document: those of its path, its query and its headers."""

import re
from typing import Any

from service.idempotency import IDEMPOTENCY_KEY, KEY
from service.operations import OWN, Operation
from worker.records.models import VERSION_LIMIT
from worker.specs.base import NAME

PARAMETER = re.compile(r"<(?:([a-z]+):)?([a-z_]+)>")
"A parameter of a path: its converter, or nothing, and its name."
TEXT: dict[str, Any] = {"type": "string"}
ADDRESSES = {
    "job_id": r"^job_[0-9a-f]{32}$",
    "dataset_id": r"^dst_[0-9a-f]{32}$",
    "prediction_id": r"^prd_[0-9a-f]{32}$",
    "step": r"^[0-9]{1,15}$",
    "name": NAME.pattern,
    "alias": NAME.pattern,
}
"The patterns of the parameters of paths."
ENCODED_NAME = NAME.pattern.removesuffix("$") + r"(\.encoded)?$"
HEADERS = {
    IDEMPOTENCY_KEY: TEXT | {"pattern": KEY.pattern},
    "If-Match": TEXT,
    "If-None-Match": TEXT,
    "Prefer": TEXT,
    "Last-Event-ID": TEXT | {"pattern": "^[0-9]{1,18}$"},
    "Inference-Header-Content-Length": TEXT | {"pattern": "^[0-9]{1,12}$"},
    "Content-Encoding": TEXT | {"enum": ["identity", "gzip", "deflate"]},
}
"The schemas of the request headers."
CONDITIONAL = {
    "If-None-Match": "An ETag: 304 if nothing changed.",
    "If-Match": "An ETag: 412 if the content has another one now.",
}


def parameters(operation: Operation) -> list[dict[str, Any]]:
    """Return the Parameter Objects of an operation."""
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _address(operation.path, converter, name)}
        for converter, name in PARAMETER.findall(operation.path)
    ]
    if operation.query is not None:
        schema = operation.query.model_json_schema()
        found += [
            {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": _given(described)}
            for name, described in schema["properties"].items()
        ]
    conditional = CONDITIONAL if 304 in operation.answers else {}
    found += [
        {"name": name, "in": "header", "required": False, "description": text, "schema": HEADERS[name]}
        for name, text in (conditional | dict(operation.headers)).items()
    ]
    return found


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that is given: text in a query string is never null."""
    forms = [known for known in schema.get("anyOf", ()) if known != {"type": "null"}]
    if len(forms) != 1:
        return schema
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return rest | dict(forms[0])


def _address(path: str, converter: str, name: str) -> dict[str, Any]:
    """Return the schema of a parameter of a path."""
    if converter == "int":
        return {"type": "integer", "minimum": 1, "maximum": VERSION_LIMIT - 1}
    # in other protocols a model's name may end in .encoded, and a version may be an alias
    pattern = ADDRESSES[name] if path.startswith(OWN) else ENCODED_NAME
    return {"type": "string", "pattern": pattern}
