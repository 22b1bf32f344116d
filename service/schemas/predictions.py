"""Predictions on the wire."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from service.schemas.common import Shown


class PredictRequest(BaseModel):
    """Rows of raw values, each an object by column name or a list in feature order."""

    model_config = ConfigDict(extra="forbid")

    rows: list[dict[str, Any] | list[Any]]


class PredictedBy(Shown):
    name: str | None
    version: int | None
    job_id: str


class Predictions(Shown):
    """A class a row with probabilities, or a number a row (a list where there are several targets).

    Of several labels that are each there or not: 1 or 0 of each, `classes` their columns. spread: of an ensemble, how
    far its members differ, as a standard deviation: of each probability, or of the number.
    """

    model: PredictedBy
    predictions: list[Any]
    classes: list[str] | None = None
    probabilities: list[list[float]] | None = None
    spread: list[Any] | None = None
