"""Requests and answers of MLflow's scoring server. Source: mlflow/mlflow, mlflow/pyfunc/scoring_server/__init__.py."""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from service.schemas.common import Shown
from worker.specs.base import AtMost, Strict, one_of


class Split(Strict):
    """A table as pandas writes it with orient="split".

    columns: their names. If they are absent, or 0, 1, ..., the columns are in the order of the features.
    """

    columns: Annotated[list[str | int], AtMost(10_000)] | None = None
    index: Any = None
    data: Annotated[list[list[Any]], Field(fail_fast=True)]


FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class ScoringRequest(Strict):
    """A table of rows, in exactly one of four forms."""

    model_config = ConfigDict(json_schema_extra=one_of(*FORMS, null=False))

    dataframe_split: Split | None = None
    dataframe_records: Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None = None
    instances: list[Any] | None = None
    "For each row a list in the order of the features, or an object."
    inputs: list[Any] | Annotated[dict[str, list[Any]], AtMost(10_000)] | None = None
    "The same as instances, or an object with a list for each column."
    params: dict[str, Any] | None = None
    "Accepted and ignored: no model of ours has parameters."

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if len(self.model_fields_set - {"params"}) != 1:
            raise ValueError(f"should have exactly one of {', '.join(FORMS)}")
        if all(getattr(self, name) is None for name in self.model_fields_set - {"params"}):
            raise ValueError("should not be null")
        return self


class Scored(Shown):
    predictions: list[Any]


class ScoringRefused(Shown):
    error_code: str
    message: str
