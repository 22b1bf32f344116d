"""Models, their versions and aliases on the wire."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from service.schemas.common import ListOf, Query, Shown
from worker.records.models import VERSION_LIMIT
from worker.specs.base import Integer, Name, Prose

Number = Annotated[int, Field(ge=1, lt=VERSION_LIMIT)]


class RegisterRequest(BaseModel):
    """The final weights of a job that has succeeded become the next version of this name."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    job_id: Annotated[str, Field(pattern=r"^job_[0-9a-f]{32}$")]


class DescribeRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    description: Prose


class MoveRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Annotated[Integer, Field(ge=1, lt=VERSION_LIMIT)]


class VersionsQuery(Query):
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Number | None = None


class AliasesQuery(Query):
    limit: Annotated[int, Field(ge=1, le=100)] = 20
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
    "That the weights are of."
    parameters: int | None
    classes: list[str] | None
    metrics: VersionMetrics
    data: dict[str, Any] | None
    "An upload's id, name, sha256 and rows, or what names a built-in or generated table."
    created_at: datetime
    links: VersionLinks


class Version(VersionBrief):
    input_schema: dict[str, Any]
    "JSON Schema of one row by column name; it accepts what predict accepts."


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
    """from: null when the alias was made; to: null when it was removed. by: which way in was used."""

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
    """Where the two specifications differ; a member that one of them lacks is left out."""

    pointer: str
    a: JsonValue = None
    b: JsonValue = None


class Comparison(Shown):
    a: VersionBrief
    b: VersionBrief
    metrics: dict[str, dict[str, FigurePair]]
    "Of the validation and the test part, the loss and every figure that either has."
    spec: list[SpecDifference]
    "Of the jobs' specifications, but for their names, tags and metadata."
