"""The schemas of requests and answers about uploaded tables."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from service.schemas.common import SPELLED, ListOf, Query, QueryBoolean, Remark, Shown
from worker.data.reading import Declared
from worker.specs.base import Text


class UploadQuery(Query, Declared):
    """The name of a table, and what its sender says of how the file is to be read."""

    name: Text = "unnamed"
    header: QueryBoolean = True

    @property
    def declared(self) -> Declared:
        return Declared.model_construct(**{name: getattr(self, name) for name in Declared.model_fields})


class RowsQuery(Query):
    limit: Annotated[int, Field(ge=1, le=1000), SPELLED] = 100


class NotNumbers(Shown):
    """How many cells are no numbers, and the first. 0: all are numbers, but with zeros before them that may matter."""

    count: int
    row: int
    cell: str


class Column(Shown):
    name: str
    type: Literal["numeric", "categorical"]
    missing: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    distinct: int
    categories: list[str] | None
    "The distinct values; null if there are too many, or if the column has fractions."
    counts: list[int] | None
    "How many rows each of them has."
    not_numbers: NotNumbers | None
    "Why it is text though some of its cells are numbers."
    look: str | None
    "What its cells look like if they are text that could be numbers, or dates."


class Dataset(Shown):
    id: str
    name: str
    rows: int
    columns: list[Column]
    remarks: list[Remark]
    bytes: int
    sha256: str
    media_type: str
    created_at: datetime


class DatasetList(ListOf):
    data: list[Dataset]


class Rows(Shown):
    columns: list[str]
    rows: list[list[float | int | str | None]]
