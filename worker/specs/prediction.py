"""How a prediction is to be told: the options of one request, or of a whole table's prediction."""

from typing import Annotated

from pydantic import Field

from worker.specs.base import Boolean, Integer, Spec

TOP_LIMIT = 1000


class PredictionOptions(Spec):
    top_k: Annotated[Integer, Field(ge=1, le=TOP_LIMIT)] | None = None
    "Of classes or labels: so many, the most probable first, in place of every probability."
    probabilities: Boolean = True
    "Of classes or labels: also how probable each is."
