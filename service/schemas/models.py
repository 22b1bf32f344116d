"""The schemas of requests and answers about models, their versions and aliases."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, JsonValue

from service.schemas.common import SPELLED, ListOf, Query, Shown
from worker.records.models import VERSION_LIMIT
from worker.specs.base import Integer, Name, Prose, Strict

Number = Annotated[int, Field(ge=1, lt=VERSION_LIMIT), SPELLED]


class RegisterRequest(Strict):
    """The final weights of a job that has succeeded become the next version of the model of this name."""

    name: Name
    job_id: Annotated[str, Field(pattern=r"^job_[0-9a-f]{32}$")]


class DescribeRequest(Strict):
    description: Prose


class MoveRequest(Strict):
    version: Annotated[Integer, Field(ge=1, lt=VERSION_LIMIT)]


class VersionsQuery(Query):
    limit: Annotated[int, Field(ge=1, le=100), SPELLED] = 20
    cursor: Number | None = None


class AliasesQuery(Query):
    limit: Annotated[int, Field(ge=1, le=100), SPELLED] = 20
    cursor: Name | None = None


class CompareQuery(Query):
    a: Number
    b: Number


class ModelLinks(Shown):
    self: str
    versions: str
    aliases: str
    predict: str


class Model(Shown):
    id: str
    name: str
    description: str
    latest_version: int | None
    "Null if every version was deleted."
    created_at: datetime
    links: ModelLinks


class ModelList(ListOf):
    data: list[Model]


class PartFigures(Shown):
    loss: float
    rows: int
    metrics: dict[str, float | None]


class VersionMetrics(Shown):
    validation: PartFigures | None
    test: PartFigures | None


class VersionLinks(Shown):
    self: str
    model: str
    predict: str
    job: str | None


class VersionBrief(Shown):
    name: str
    version: int
    aliases: list[str]
    job_id: str | None
    epoch: int
    "The epoch of the weights."
    parameters: int | None
    classes: list[str] | None
    metrics: VersionMetrics
    data: dict[str, Any] | None
    "The id, name, sha256 and rows of an upload, or the name of a built-in or generated table."
    created_at: datetime
    links: VersionLinks


class Version(VersionBrief):
    input_schema: dict[str, Any]
    "A JSON Schema of one row by column name. It accepts what predict accepts."


class VersionList(ListOf):
    data: list[VersionBrief]


class AliasLinks(Shown):
    self: str
    version: str
    predict: str
    history: str


class Alias(Shown):
    alias: str
    version: int
    updated_at: datetime
    links: AliasLinks


class AliasList(ListOf):
    data: list[Alias]


class Move(Shown):
    """A move of an alias. from: null when it was created. to: null when it was removed. by: `key` or `dashboard`."""

    id: str
    alias: str
    from_version: Annotated[int | None, Field(alias="from")]
    to: int | None
    by: str
    at: datetime


class MoveList(ListOf):
    data: list[Move]


class FigurePair(Shown):
    a: float | None
    b: float | None
    difference: float | None
    "b - a."


class SpecDifference(Shown):
    """A place where the two specifications differ. The side that lacks the member is left out."""

    pointer: str
    a: JsonValue = None
    b: JsonValue = None


class Comparison(Shown):
    a: VersionBrief
    b: VersionBrief
    metrics: dict[str, dict[str, FigurePair]]
    "For the validation and the test part: the loss, and every metric that either version has."
    spec: list[SpecDifference]
    "Differences of the jobs' specifications, except in their names, tags and metadata."
