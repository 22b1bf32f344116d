"""The schemas of requests and answers about uploaded tables."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from service.schemas.common import SPELLED, ListOf, Query, QueryBoolean, Remark, Shown
from worker.data.reading import COMMENT, CellText, Declared
from worker.specs.base import AtMost, ColumnName, Text


class UploadQuery(Query):
    """How a file is to be read, as `worker.data.reading.Declared` has it. What is not given is found out."""

    name: Text = "unnamed"
    delimiter: Annotated[
        Literal[",", ";", "\t", "|", "whitespace"] | None, Field(description="The mark between the cells of a CSV.")
    ] = None
    header: Annotated[
        QueryBoolean, Field(description="false: the first line is a row, and columns are named 0, 1, ...")
    ] = True
    comment: Annotated[
        str | None, Field(pattern=COMMENT, description="Lines of a CSV that begin with this mark are passed over.")
    ] = None
    missing: Annotated[
        tuple[CellText, ...],
        Field(description="Means a missing cell, beside the usual texts; a number means it however it is written."),
        AtMost(100),
    ] = ()
    present: Annotated[
        tuple[CellText, ...], Field(description="One of the usual texts that means no missing cell here."), AtMost(100)
    ] = ()
    text: Annotated[
        tuple[ColumnName, ...], Field(description="A column of text, whatever its cells look like."), AtMost(1000)
    ] = ()
    decimal: Annotated[
        Literal[".", ","] | None, Field(description="The mark before the fraction of a number that is text.")
    ] = None
    thousands: Annotated[
        Literal[",", ".", " ", "'"] | None, Field(description="The mark between groups of three digits.")
    ] = None

    dates: Annotated[
        Literal["ymd", "dmy", "mdy"] | None, Field(description="The order of year, month and day in dates.")
    ] = None

    def declared(self, encoding: str | None) -> Declared:
        return Declared(encoding=encoding, **self.model_dump(exclude={"name"}))


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
