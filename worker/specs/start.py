"""The specification of the trained network that a job starts from."""

from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue, model_validator

from worker.specs.base import Integer, Name, Spec, form

FORMS: list[JsonValue] = [
    form("job", absent=("model", "version", "alias")),
    form("model", absent=("job", "version")),
    form("model", "version", absent=("job", "alias")),
]
"The ways of naming a source; `_one_source` checks the same."


class StartFrom(Spec):
    """The weights of a job, or of a model's version, named by its number, by an alias, or as the newest.

    Every hidden layer must have the shape that it has in the source. If the features are the same in name, type and
    order, they are encoded as in the source, and so is the target. A category that the source never saw is then
    treated as unknown. The output layer starts with random weights if the target, its classes or the activation differ.
    """

    model_config = ConfigDict(json_schema_extra={"anyOf": FORMS})

    job: Annotated[str, Field(pattern=r"^job_[0-9a-f]{32}$")] | None = None
    "A job that succeeded; its final weights are used."
    model: Name | None = None
    version: Annotated[Integer, Field(ge=1, lt=2**31)] | None = None
    alias: Name | None = None
    "Stored as the version that it points at when the job is submitted."
    freeze: Annotated[Integer, Field(ge=0, le=256)] = 0
    """The number of first layers that keep their weights to the bit. They compute as at prediction: batch_norm uses its
    running figures, and dropout is off."""

    @model_validator(mode="after")
    def _one_source(self) -> "StartFrom":
        if (self.job is None) == (self.model is None):
            raise ValueError("must name a job or a model")
        if self.model is None and (self.version is not None or self.alias is not None):
            raise ValueError("has a version or an alias, which only a model has")
        if self.version is not None and self.alias is not None:
            raise ValueError("must have a version or an alias, not both")
        return self
