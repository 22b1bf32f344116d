"""The specification of a whole job: the document that a client posts."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, JsonValue, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from worker.specs.base import AtMost, ColumnName, Name, Spec, Text, column_name, form
from worker.specs.dataset import ColumnOverride, Dataset
from worker.specs.encoding import EncodingRules
from worker.specs.network import Network
from worker.specs.start import StartFrom
from worker.specs.training import Training

SAME_AS_SOURCE = Network(layers=())


def _each_once(columns: Any) -> Any:
    """Raise ValueError if two names are one once they are trimmed."""
    if isinstance(columns, dict) and len({column_name(str(name)) for name in columns}) < len(columns):
        raise ValueError("has two names that are one: names are trimmed")
    return columns


class Job(Spec):
    model_config = ConfigDict(json_schema_extra={"anyOf": [form("network"), form("start_from")]})

    name: Text = "unnamed"
    "Need not be unique."
    dataset: Dataset
    target: ColumnName | Annotated[tuple[ColumnName, ...], Field(min_length=1), AtMost(1000)]
    "The column to predict; a list of numeric columns for a regression with several outputs."
    missing_target: Literal["refuse", "drop"] = "refuse"
    "What to do with rows without a target: refuse the table, or leave them out."
    weight: ColumnName | None = None
    "A numeric column with the weight of each row relative to the others; it is not a feature."
    features: Annotated[tuple[ColumnName, ...], Field(min_length=1), AtMost(10_000)] | None = None
    "The columns to predict from; null: every column that is neither a target nor ignored."
    columns: Annotated[
        dict[Annotated[str, AfterValidator(column_name)], ColumnOverride], AtMost(10_000), BeforeValidator(_each_once)
    ] = {}
    "What single columns are and how they are encoded, by name."
    encoding: EncodingRules = EncodingRules()
    "How all other columns become inputs of the network."
    start_from: StartFrom | None = None
    "Start with the weights of a trained network; null: with random weights."
    network: Annotated[Network, Field(validate_default=True)] = SAME_AS_SOURCE
    "If left out together with `start_from`: the network of the source."
    training: Training = Training()
    model: Name | None = None
    "When the job succeeds, its network becomes the next version of the model with this name."
    tags: Annotated[tuple[Name, ...], AtMost(32)] = ()
    metadata: Annotated[dict[str, JsonValue], AtMost(64)] = {}
    "Your own data; stored and returned unchanged. At most 16 KiB of JSON."

    @field_validator("network", mode="before")
    @classmethod
    def _check_network(cls, network: Any, info: ValidationInfo) -> Any:
        if network is SAME_AS_SOURCE and info.data.get("start_from", ...) is None:
            raise PydanticCustomError("missing", "Field required")
        return network

    @field_validator("tags")
    @classmethod
    def _drop_repeated_tags(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(tags))

    @property
    def frozen(self) -> int:
        """How many of the first layers keep their weights."""
        return 0 if self.start_from is None else self.start_from.freeze

    @property
    def targets(self) -> tuple[str, ...]:
        """The target columns, one or several."""
        return (self.target,) if isinstance(self.target, str) else self.target
