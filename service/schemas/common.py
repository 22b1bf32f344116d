"""Schemas that the requests and answers of all resources share."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
BOOLEANS = {"true": True, "false": False}


def _integer(text: object) -> object:
    """Return the integer that a query string spells as JSON would. Pydantic would also read `1_0`, `+1` and `1.0`."""
    if not isinstance(text, str):
        return text
    if not WHOLE.fullmatch(text):
        raise PydanticCustomError("int_parsing", "Input should be an integer of at most 19 digits")
    return int(text)


def _boolean(text: object) -> object:
    """Return the boolean that a query string spells as JSON would. Pydantic would also read `on`, `Y` and `1`."""
    if isinstance(text, str) and text not in BOOLEANS:
        raise PydanticCustomError("bool_parsing", "Input should be true or false")
    return BOOLEANS[text] if isinstance(text, str) else text


# in a query string a number is text, so strict=True would refuse every number
SPELLED = BeforeValidator(_integer)
"Put it last in the annotation of each integer of a query string."
QueryBoolean = Annotated[bool, BeforeValidator(_boolean)]


class Query(BaseModel):
    """A query string. Unknown parameters are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Shown(BaseModel):
    """An answer, as the OpenAPI document describes it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Fault(Shown):
    """A fault and its place.

    pointer: a JSON Pointer into the body.
    parameter: the name of a parameter.
    row, column: the place in a table.
    """

    detail: str
    pointer: str | None = None
    parameter: str | None = None
    row: int | None = None
    column: str | None = None


class ProblemDocument(BaseModel):
    """An error, by RFC 9457. `instance` is the request id; `code` is for programs."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None
    code: str
    errors: list[Fault] | None = None


class Page(Query):
    limit: Annotated[int, Field(ge=1, le=100), SPELLED] = 20
    cursor: Annotated[str, Field(pattern=r"^[a-z]{3}_[0-9a-f]{32}$")] | None = None


class ListOf(Shown):
    data: list[Any]
    has_more: bool
    next_cursor: str | None


class Remark(Shown):
    """What to know before training on a column: why it is text, or that it can't help. column: null for the table."""

    column: str | None
    code: str
    detail: str
