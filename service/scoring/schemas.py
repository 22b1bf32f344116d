"""Requests and answers of MLflow's scoring server. Source: mlflow/mlflow, mlflow/pyfunc/scoring_server/__init__.py."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.schemas.common import Shown


class Split(BaseModel):
    """A table as pandas writes it with orient="split".

    columns: their names. If they are absent, or 0, 1, ..., the columns are in the order of the features.
    """

    model_config = ConfigDict(extra="forbid")

    columns: Annotated[list[str | int], Field(max_length=10_000)] | None = None
    index: Any = None
    data: list[list[Any]]


class ScoringRequest(BaseModel):
    """A table of rows, in exactly one of four forms."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    dataframe_split: Split | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    instances: list[Any] | None = None
    "For each row a list in the order of the features, or an object."
    inputs: list[Any] | dict[str, list[Any]] | None = None
    "The same as instances, or an object with a list for each column."
    params: dict[str, Any] | None = None
    "Accepted and ignored: no model of ours has parameters."

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if len(self.model_fields_set - {"params"}) != 1:
            raise ValueError("should have exactly one of dataframe_split, dataframe_records, instances, inputs")
        if all(getattr(self, name) is None for name in self.model_fields_set - {"params"}):
            raise ValueError("should not be null")
        return self


class Scored(Shown):
    predictions: list[Any]


class ScoringRefused(Shown):
    error_code: str
    message: str
