"""Fits the encoders of a job on its training part."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from worker.data.encoders import (
    CategoricalCode,
    ClassTarget,
    Encoders,
    LabelsTarget,
    NumberTarget,
    NumericCode,
    Target,
    floats_of,
    numbers_of,
)
from worker.data.number_forms import NumberForm
from worker.data.profiles import categories_of
from worker.data.reading import form_of_field, missing_of
from worker.data.roles import Feature, Roles
from worker.errors import DataError

SMALLEST_DEVIATION = 1e-150


def fit_encoders(table: pa.Table, roles: Roles, kind: str = "numbers", *, standardised: bool = True) -> Encoders:
    """Fit encoders on these rows, which must be the training part. Raises DataError.

    kind: what the target columns are if the target is not a category: `numbers` or `labels`.
    standardised: whether the network learns (number - mean) / standard deviation rather than the number itself.
    """
    return Encoders(
        features=tuple(_fit(table[each.name], each, form_of_field(table.field(each.name))) for each in roles.features),
        target=_fit_target(table, roles, kind, standardised=standardised),
        missing=missing_of(table.schema),
    )


def _fit_target(table: pa.Table, roles: Roles, kind: str, *, standardised: bool) -> Target:
    if roles.classes is not None:
        return ClassTarget(name=roles.targets[0], classes=roles.classes)
    if kind == "labels":
        return LabelsTarget(names=roles.targets)
    if not standardised:
        count = len(roles.targets)
        return NumberTarget(names=roles.targets, means=(0.0,) * count, scales=(1.0,) * count)
    values = numbers_of(table, roles.targets)
    found = [_mean_and_scale(column, name) for column, name in zip(values.T, roles.targets, strict=True)]
    means, scales = zip(*found, strict=True)
    return NumberTarget(names=roles.targets, means=means, scales=scales)


def _fit(column: pa.ChunkedArray, feature: Feature, form: NumberForm | None) -> NumericCode | CategoricalCode:
    if feature.type == "categorical":
        text = column.cast(pa.string())
        known = pc.drop_null(text)
        return CategoricalCode(
            name=feature.name,
            categories=categories_of(pc.drop_null(column)) if len(known) else (),
            missing=column.null_count > 0,
            most_frequent=_most_frequent(known),
            unknown=feature.unknown,
            embedded=feature.embedded,
        )
    values = floats_of(column)
    present = values[~np.isnan(values)]
    median = float(np.median(present)) if len(present) else 0.0
    filled = np.where(np.isnan(values), median, values)
    mean, scale = _mean_and_scale(filled, feature.name)
    bounds = {"minimum": float(present.min()), "maximum": float(present.max())} if len(present) else {}
    return NumericCode(name=feature.name, median=median, mean=mean, scale=scale, form=form, **bounds)


def _most_frequent(text: pa.ChunkedArray) -> str | None:
    counts = pc.value_counts(text).to_pylist()
    return min(counts, key=lambda entry: (-entry["counts"], entry["values"]))["values"] if counts else None


def _mean_and_scale(values: NDArray[np.float64], name: str) -> tuple[float, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(values.mean()), float(values.std())
    if not np.isfinite(deviation):
        raise DataError("spreads so far that its variance is not finite: use another unit", column=name)
    lowest, highest = float(values.min()), float(values.max())
    if lowest == highest:
        # its deviation is not exactly 0 but the round-off of its mean
        return mean, 1.0
    if deviation < SMALLEST_DEVIATION:
        # the squares of such numbers are no numbers any more
        spread = highest - lowest
        deviation = spread * float(((values - mean) / spread).std())
    return mean, deviation
