"""A JSON Schema (draft 2020-12) of one row of a model's input: it accepts what predicting accepts."""

import re
from typing import Any

from worker.data.cells import NUMBER, WHOLE, category_text
from worker.data.encoders import CategoricalCode, Encoders, NumericCode
from worker.data.encoding import Categories
from worker.data.number_forms import unnamed

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SPECIAL = re.compile(r"[\\^$.|?*+()\[\]{}]")
"The characters that every dialect of regular expressions gives a meaning of its own."


def row_schema(encoders: Encoders) -> dict[str, Any]:
    """Return the schema of a row by column name. Columns that the model does not have are passed over.

    x-seen: the smallest and largest value that training saw. Values outside are predicted too, with a warning.
    """
    missing = list(encoders.missing)
    return {
        "$schema": DIALECT,
        "type": "object",
        "properties": {
            code.name: _number(code, missing) if isinstance(code, NumericCode) else _category(code, missing)
            for code in encoders.features
        },
        "required": [code.name for code in encoders.features],
    }


def _number(code: NumericCode, missing: list[str]) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": ["number", "string", "null"],
        "pattern": _trimmed([NUMBER.pattern, *_form(code), *map(_spelled, missing)]),
        "description": "A number, also as text. A missing cell is imputed with the median.",
    }
    if code.minimum is not None and code.maximum is not None:
        schema["x-seen"] = {"minimum": code.minimum, "maximum": code.maximum}
    return schema


def _form(code: NumericCode) -> list[str]:
    """Return the pattern of the column's own form of numbers. Dialects write the names of groups differently."""
    return [] if code.form is None else [unnamed(code.form.pattern)]


def _category(code: CategoricalCode, missing: list[str]) -> dict[str, Any]:
    examples = list(code.numbers)
    if code.unknown == "pool":
        return {"type": ["string", "number", "boolean", "null"], "examples": examples}
    # those of an older network were not cleaned
    read = [category_text(category, ()) or category for category in examples]
    forms = [form for category in dict.fromkeys(read) for form in _forms(category)]
    texts = [_spelled(category) for category in dict.fromkeys(read)]
    texts += [_escaped(category) for category in examples if category not in read]
    if Categories(code).missing < code.category_count:
        forms += [None, *(form for text in missing for form in _forms(text))]
        texts += map(_spelled, missing)
    text = {"type": "string", "pattern": _trimmed(texts)}
    return {"anyOf": [text, {"enum": forms}] if forms else [text], "examples": examples}


def _trimmed(texts: list[str]) -> str:
    return rf"^\s*(?:{'|'.join(texts)})\s*$"


def _escaped(text: str) -> str:
    return SPECIAL.sub(r"\\\g<0>", text)


def _spelled(category: str) -> str:
    """Return the pattern of a category's spellings."""
    if category in ("true", "false"):
        return "".join(f"[{letter}{letter.upper()}]" for letter in category)
    if WHOLE.fullmatch(category):
        return rf"{category}(?:\.0+)?"
    return _escaped(category)


def _forms(category: str) -> list[Any]:
    """Return the JSON values that mean this category and are no text: a number, or a truth value."""
    if category in ("true", "false"):
        return [category == "true"]
    if NUMBER.fullmatch(category) is None:
        return []
    number = float(category)
    if number.is_integer():
        return [int(number)] if category == str(int(number)) else []
    return [number] if category == repr(number) else []
