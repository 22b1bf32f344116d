"""A JSON Schema (draft 2020-12) of one row of a model's input: it accepts what predicting accepts."""

from contextlib import suppress
from typing import Any

from worker.data.encoders import CategoricalCode, Encoders, NumericCode

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def row_schema(encoders: Encoders) -> dict[str, Any]:
    """Return the schema of a row by column name.

    x-seen: the smallest and largest value that training saw. Values outside are predicted too, with a warning.
    """
    return {
        "$schema": DIALECT,
        "type": "object",
        "properties": {
            code.name: _number(code) if isinstance(code, NumericCode) else _category(code) for code in encoders.features
        },
        "required": [code.name for code in encoders.features],
        "additionalProperties": False,
    }


def _number(code: NumericCode) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": ["number", "null"], "description": "null is imputed with the median."}
    if code.minimum is not None and code.maximum is not None:
        schema["x-seen"] = {"minimum": code.minimum, "maximum": code.maximum}
    return schema


def _category(code: CategoricalCode) -> dict[str, Any]:
    if code.unknown == "pool":
        return {"type": ["string", "number", "boolean", "null"], "examples": list(code.categories)}
    empty = [None, ""] if code.missing or code.most_frequent is not None else []
    return {"enum": [form for category in code.categories for form in _forms(category)] + empty}


def _forms(category: str) -> list[Any]:
    """Return the JSON values that mean this category: its text, and the number or truth value written like it."""
    if category in ("true", "false"):
        return [category, category == "true"]
    with suppress(ValueError):
        number = float(category)
        written = str(int(number)) if number.is_integer() else str(number)
        if written == category:
            return [category, int(number) if number.is_integer() else number]
    return [category]
