"""Specifications of datasets: where a job's rows come from."""

from typing import Annotated, Literal

from pydantic import Field

from worker.specs.base import AtMost, Boolean, Integer, Number, Seed, Spec, Text

# bool comes first, so that JSON's true is a category and not the number 1
Cell = Annotated[Boolean | Integer | Number | str | None, Field(union_mode="left_to_right")]


class BuiltinDataset(Spec):
    """A table that ships with gradmill. The target column is `label`, or `target` for diabetes."""

    source: Literal["builtin"]
    name: Literal["xor", "digits", "iris", "wine", "breast_cancer", "diabetes"]


class GeneratedDataset(Spec):
    """A table made from a seed: the same numbers each time. The target is `label`, or `target` for linear and sine."""

    source: Literal["generator"]
    name: Literal["moons", "circles", "spirals", "blobs", "linear", "sine"]
    rows: Annotated[Integer, Field(ge=4, le=1_000_000)] = 500
    noise: Annotated[Number, Field(ge=0, le=10)] = 0.1
    "Standard deviation of the Gaussian noise."
    seed: Seed = 0


class InlineDataset(Spec):
    """Rows in the request itself. They become a stored dataset, whose id the job's specification keeps."""

    source: Literal["inline"]
    columns: Annotated[tuple[Text, ...], Field(min_length=2), AtMost(10_000)]
    rows: Annotated[tuple[Annotated[tuple[Cell, ...], Field(fail_fast=True)], ...], Field(min_length=2, fail_fast=True)]


class StoredDataset(Spec):
    """A table uploaded to `POST /v1/datasets`."""

    source: Literal["stored"]
    id: Annotated[str, Field(pattern=r"^dst_[0-9a-f]{32}$")]


Dataset = Annotated[
    BuiltinDataset | GeneratedDataset | InlineDataset | StoredDataset,
    Field(discriminator="source"),
]


class ColumnOverride(Spec):
    """The type of a column, where the inferred type is not what you mean."""

    type: Literal["numeric", "categorical", "ignore"]
    unknown: Literal["pool", "refuse"] = "pool"
    """What to do at prediction with a category that training never saw: count it as none of those that it saw, with a
    warning, or refuse the row."""
