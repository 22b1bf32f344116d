"""The schemas of predictions: what a request may contain, and what `answers.py` returns."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from service.schemas.common import SPELLED, ListOf, Query, QueryBoolean, Shown
from service.schemas.jobs import JobError
from worker.records.states import PredictionStatus
from worker.specs.base import AtMost, Boolean, Integer, Strict, one_of
from worker.specs.dataset import BuiltinDataset, GeneratedDataset, StoredDataset
from worker.specs.prediction import TOP_LIMIT, PredictionOptions

DEFAULT = PredictionOptions()
TableToPredict = Annotated[StoredDataset | BuiltinDataset | GeneratedDataset, Field(discriminator="source")]


class PredictQuery(Query):
    """The same options as in a JSON body. Those of the body take precedence."""

    top_k: Annotated[int, Field(ge=1, le=TOP_LIMIT), SPELLED] | None = None
    probabilities: QueryBoolean = True

    def options(self) -> PredictionOptions:
        if self.top_k is None and self.probabilities:
            return DEFAULT
        return PredictionOptions(top_k=self.top_k, probabilities=self.probabilities)


class PredictRequest(Strict):
    """Raw values: `rows`, each an object by column name or a list in feature order, or `columns`, lists by name.

    Or a whole `dataset`: the answer is then 202 with the address of a prediction that the workers carry out.
    """

    model_config = ConfigDict(json_schema_extra=one_of("rows", "columns", "dataset"))

    rows: Annotated[list[dict[str, Any] | list[Any]], Field(fail_fast=True)] | None = None
    columns: Annotated[dict[str, list[Any]], AtMost(10_000)] | None = None
    dataset: TableToPredict | None = None
    top_k: Annotated[Integer, Field(ge=1, le=TOP_LIMIT)] | None = None
    "For classes or labels: return only this many for each row, the most probable first, not every probability."
    probabilities: Boolean | None = None
    "For classes or labels: whether to return their probabilities too; null: what the query says, or true."

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = [name for name in ("rows", "columns", "dataset") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("should have exactly one of rows, columns and dataset")
        return self

    def options(self, otherwise: PredictionOptions) -> PredictionOptions:
        """Return the options. otherwise: those of the query, which apply if the body sets none."""
        return PredictionOptions(
            top_k=otherwise.top_k if self.top_k is None else self.top_k,
            probabilities=otherwise.probabilities if self.probabilities is None else self.probabilities,
        )


class PredictedBy(Shown):
    """name, version: null if a job predicted. job_id: null for imported weights."""

    name: str | None
    version: int | None
    job_id: str | None


class Probable(Shown):
    name: Annotated[str, Field(alias="class")]
    probability: float | None = None


class Warned(Shown):
    """row: null if it is about the whole column."""

    row: int | None
    column: str
    detail: str


class Predictions(Shown):
    """For each row a class and the probabilities of all classes, or a number (a list where there are several targets).

    Probabilities add up to 1, unless the category was trained with a squared error into sigmoid outputs: then each
    class's probability was estimated by itself.

    For several yes/no labels: 1 or 0 for each, and `classes` are their columns. spread: for an ensemble, how far its
    members differ, as the standard deviation of each probability or of the number.
    """

    model: PredictedBy
    predictions: list[Any]
    classes: list[str] | None = None
    probabilities: list[list[float]] | None = None
    top: list[list[Probable]] | None = None
    "With top_k: the most probable classes of each row, instead of `classes` and `probabilities`."
    spread: list[Any] | None = None
    warnings: list[Warned] | None = None
    "The first 20 values that lie outside the range that training saw. There the network guesses."


class PredictionLinks(Shown):
    self: str
    result: str


class TablePrediction(Shown):
    """The prediction of a whole table."""

    id: str
    status: PredictionStatus
    model: PredictedBy
    dataset: TableToPredict
    options: PredictionOptions
    rows: int | None
    "The number of rows in the result; null until it exists."
    bytes: int | None
    "The size of the result as an Arrow stream; null until it exists."
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: JobError | None
    links: PredictionLinks


class TablePredictionList(ListOf):
    data: list[TablePrediction]
