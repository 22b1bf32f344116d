"""Where a network's first weights come from, if not from a seed."""

from typing import Annotated

from pydantic import Field, model_validator

from worker.specs.base import Integer, Name, Spec


class StartFrom(Spec):
    """The weights of a job, or of a model's version: by its number, its alias, or the newest.

    Every hidden layer must have the source's shape. Where the features are the source's, in name, type and order, they
    are encoded as they were there, and so is the target; a category that the source never saw counts as none of its
    own. The output layer starts anew where the target, its classes or the output's activation differ.
    """

    job: Annotated[str, Field(pattern=r"^job_[0-9a-f]{32}$")] | None = None
    "One that succeeded; its final weights."
    model: Name | None = None
    version: Annotated[Integer, Field(ge=1, lt=2**31)] | None = None
    alias: Name | None = None
    "Is kept as the version that it points at when the job is submitted."
    freeze: Annotated[Integer, Field(ge=0, le=256)] = 0
    """So many of the first layers keep their weights to the bit. They compute as at prediction: batch_norm by its
    running figures, and no dropout."""

    @model_validator(mode="after")
    def _one_source(self) -> "StartFrom":
        if (self.job is None) == (self.model is None):
            raise ValueError("must name a job or a model")
        if self.model is None and (self.version is not None or self.alias is not None):
            raise ValueError("has a version or an alias, which only a model has")
        if self.version is not None and self.alias is not None:
            raise ValueError("must have a version or an alias, not both")
        return self
