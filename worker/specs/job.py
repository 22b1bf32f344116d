"""A whole job: the document that a client posts."""

from typing import Annotated

from pydantic import Field, JsonValue, field_validator

from worker.specs.base import Name, Spec, Text
from worker.specs.dataset import ColumnOverride, Dataset
from worker.specs.network import Network
from worker.specs.training import Training


class Job(Spec):
    name: Text = "unnamed"
    "Need not be unique."
    dataset: Dataset
    target: Text | Annotated[tuple[Text, ...], Field(min_length=1, max_length=1000)]
    "The column to predict; a list of numeric columns for a regression with several outputs."
    weight: Text | None = None
    "A numeric column that says how much each row counts, relative to the others; it is not a feature."
    features: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    "The columns to predict from; null: every column that is neither a target nor ignored."
    columns: dict[str, ColumnOverride] = {}
    "Overrides of what was inferred, by column name."
    network: Network
    training: Training = Training()
    model: Name | None = None
    "The result becomes the next version of the model of this name when the job succeeds."
    tags: Annotated[tuple[Name, ...], Field(max_length=32)] = ()
    metadata: Annotated[dict[str, JsonValue], Field(max_length=64)] = {}
    "Yours; kept and returned as it is."

    @field_validator("tags")
    @classmethod
    def _tags_are_a_set(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(tags))

    @property
    def targets(self) -> tuple[str, ...]:
        """The target columns, one or several."""
        return (self.target,) if isinstance(self.target, str) else self.target
