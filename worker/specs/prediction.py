"""The options of a prediction, for one request or for a whole table."""

from typing import Annotated

from pydantic import Field

from worker.specs.base import Boolean, Integer, Spec

TOP_LIMIT = 1000


class PredictionOptions(Spec):
    top_k: Annotated[Integer, Field(ge=1, le=TOP_LIMIT)] | None = None
    "Return only this many classes or labels, the most probable first, instead of every probability."
    probabilities: Boolean = True
    "Also return the probability of each class or label."
