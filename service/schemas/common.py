"""Schemas that the requests and answers of all resources share."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


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
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(pattern=r"^[a-z]{3}_[0-9a-f]{32}$")] | None = None


class ListOf(Shown):
    data: list[Any]
    has_more: bool
    next_cursor: str | None
