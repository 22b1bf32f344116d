"""Specifications of encoding: how the cells of a column become inputs of the network."""

from typing import Annotated, Literal

from pydantic import Field

from worker.specs.base import Boolean, Integer, Spec

Scale = Literal["standard", "minmax", "robust", "quantile", "none"]
BINS = 128
Bins = Annotated[Integer, Field(ge=0, le=BINS)]
Most = Annotated[Integer, Field(ge=1, le=1_000_000)]


class NumberEncoding(Spec):
    """How numbers become inputs. Everything is fitted on the training part. A missing cell counts as the median."""

    log: Boolean = False
    "First take sign(x) log(1 + |x|): for amounts that spread over several powers of ten."
    scale: Scale = "standard"
    """standard: mean 0, deviation 1. minmax: from 0 to 1. robust: median 0, distance of the quartiles 1. quantile: the
    share of the training rows that are smaller, from 0 to 1. none: as they are."""
    smooth_clip: Boolean = False
    "Then x / sqrt(1 + (x/3)^2), which no outlier takes past 3."
    bins: Bins = 0
    """Beside it, the piecewise-linear encoding: an input for each of so many bins between quantiles, which rises from 0
    to 1 within its bin. A column of two values gets none."""
    calendar: Boolean = True
    """Beside a time, the sine and the cosine of its place in the week and the year, and in the day if it has a time of
    day. Other numbers have no calendar."""
    indicator: Boolean = False
    "Beside it, an input that is 1 where the cell is missing, if any is in the training part."


class CategoryEncoding(Spec):
    """How categories become inputs: one for each, which is 1 where the cell has it."""

    most: Most | None = None
    "So many of the most frequent categories have an input of their own; the others share one. null: each has."


class EncodingRules(Spec):
    """How the columns become inputs that do not say it themselves."""

    numbers: NumberEncoding = NumberEncoding()
    categories: CategoryEncoding = CategoryEncoding()


NUMBERS, CATEGORIES = NumberEncoding(), CategoryEncoding()
"What is not said."
