"""Where a job's rows come from."""

from typing import Annotated, Literal

from pydantic import Field

from worker.specs.base import Boolean, Integer, Number, Seed, Spec, Text

# a finite number stays what it is; bool is here so that JSON's true is a category, not the number 1
Cell = Annotated[Boolean | Integer | Number | str | None, Field(union_mode="left_to_right")]


class BuiltinDataset(Spec):
    """A table that ships with gradmill. The target column is `label`, or `target` for diabetes."""

    source: Literal["builtin"]
    name: Literal["xor", "digits", "iris", "wine", "breast_cancer", "diabetes"]


class GeneratedDataset(Spec):
    """A table made from a seed: the same numbers each time. `label` is the target, or `target` for linear and sine."""

    source: Literal["generator"]
    name: Literal["moons", "circles", "spirals", "blobs", "linear", "sine"]
    rows: Annotated[Integer, Field(ge=4, le=1_000_000)] = 500
    noise: Annotated[Number, Field(ge=0, le=10)] = 0.1
    "Standard deviation of the Gaussian noise."
    seed: Seed = 0


class InlineDataset(Spec):
    """The rows stand in the request. They become a stored dataset, and the job's spec keeps its id."""

    source: Literal["inline"]
    columns: Annotated[tuple[Text, ...], Field(min_length=2, max_length=10_000)]
    rows: Annotated[tuple[tuple[Cell, ...], ...], Field(min_length=2)]


class StoredDataset(Spec):
    """A table uploaded to `POST /v1/datasets`."""

    source: Literal["stored"]
    id: Annotated[str, Field(pattern=r"^dst_[0-9a-f]{32}$")]


Dataset = Annotated[
    BuiltinDataset | GeneratedDataset | InlineDataset | StoredDataset,
    Field(discriminator="source"),
]


class ColumnOverride(Spec):
    """What a column is, where the inferred type is not what you mean."""

    type: Literal["numeric", "categorical", "ignore"]
    unknown: Literal["refuse", "pool"] = "refuse"
    "At prediction, a category that training never saw is refused, or pooled: all its indicators are 0."
