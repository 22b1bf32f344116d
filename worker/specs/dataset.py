"""Specifications of datasets: where a job's rows come from."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field

from worker.specs.base import AtMost, Boolean, ColumnName, Integer, Number, Seed, Spec, Text
from worker.specs.encoding import Bins, CategoryEncoding, Most, NumberEncoding, Scale

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
    text: Annotated[tuple[ColumnName, ...], AtMost(1000)] = ()
    "Columns of text, whatever their cells look like: dates that are categories, for one."
    rows: Annotated[tuple[Annotated[tuple[Cell, ...], Field(fail_fast=True)], ...], Field(min_length=2, fail_fast=True)]


class StoredDataset(Spec):
    """A table uploaded to `POST /v1/datasets`."""

    source: Literal["stored"]
    id: Annotated[str, Field(pattern=r"^dst_[0-9a-f]{32}$")]


Dataset = Annotated[
    BuiltinDataset | GeneratedDataset | InlineDataset | StoredDataset,
    Field(discriminator="source"),
]


NUMBERS, CATEGORIES = tuple(NumberEncoding.model_fields), tuple(CategoryEncoding.model_fields)


class ColumnOverride(Spec):
    """What a column is and how it is encoded, where that is not what was inferred, or what `encoding` says of all."""

    type: Literal["numeric", "categorical", "ignore"] | None = None
    "null: as it was inferred."
    unknown: Literal["pool", "refuse"] = "pool"
    """What to do at prediction with a category that training never saw: count it as none of those that it saw, with a
    warning, or refuse the row."""
    log: Boolean | None = None
    scale: Scale | None = None
    smooth_clip: Boolean | None = None
    bins: Bins | None = None
    calendar: Boolean | None = None
    indicator: Boolean | None = None
    "This and the five before are of a numeric column, as in `encoding.numbers`; null: as there."
    most: Most | None = None
    "Of a categorical column, as in `encoding.categories`; null: as there."

    def number_encoding(self, rules: NumberEncoding) -> NumberEncoding:
        return rules.model_copy(update=self._given(NUMBERS))

    def category_encoding(self, rules: CategoryEncoding) -> CategoryEncoding:
        return rules.model_copy(update=self._given(CATEGORIES))

    def misplaced(self, kind: Literal["numeric", "categorical"]) -> list[str]:
        """Return the members that say something of the other kind of column."""
        return [*self._given(CATEGORIES if kind == "numeric" else NUMBERS)]

    @property
    def encodes(self) -> list[str]:
        """The members that say how the column is encoded."""
        return [*self._given((*NUMBERS, *CATEGORIES))]

    def _given(self, names: Iterable[str]) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}
