"""Fits the encoders of a job on its training part."""

from typing import assert_never

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
from worker.data.profiles import categories_of
from worker.data.reading import form_of_field, missing_of
from worker.data.roles import Feature, Roles
from worker.data.scaling import signed_log
from worker.data.times import Form, TimeForm
from worker.errors import DataError
from worker.specs.encoding import Scale

SMALLEST_DEVIATION = 1e-150
QUANTILES = 101


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


def _fit(column: pa.ChunkedArray, feature: Feature, form: Form | None) -> NumericCode | CategoricalCode:
    if feature.type == "categorical":
        return _fit_categories(column, feature)
    return _fit_numbers(floats_of(column), feature, form)


def _fit_categories(column: pa.ChunkedArray, feature: Feature) -> CategoricalCode:
    known = pc.drop_null(column)
    categories = categories_of(known) if len(known) else ()
    by_frequency = _by_frequency(known.cast(pa.string()))
    own = frozenset(by_frequency[: feature.rules.most])
    return CategoricalCode(
        name=feature.name,
        categories=tuple(category for category in categories if category in own),
        missing=column.null_count > 0,
        most_frequent=by_frequency[0] if by_frequency else None,
        unknown=feature.unknown,
        embedded=feature.embedded,
        rare=tuple(category for category in categories if category not in own),
    )


def _by_frequency(text: pa.ChunkedArray) -> list[str]:
    """Return the distinct texts, the most frequent first, and those that are as frequent in order."""
    counts = pc.value_counts(text).to_pylist()
    return [entry["values"] for entry in sorted(counts, key=lambda entry: (-entry["counts"], entry["values"]))]


def _fit_numbers(values: NDArray[np.float64], feature: Feature, form: Form | None) -> NumericCode:
    rules, name = feature.numbers, feature.name
    present = values[~np.isnan(values)]
    median = float(np.median(present)) if len(present) else 0.0
    filled = np.where(np.isnan(values), median, values)
    taken = signed_log(filled) if rules.log else filled
    mean, scale = _centre_and_scale(taken, rules.scale, name)
    if rules.scale == "quantile" or rules.bins:
        # between the quantiles of a wider range there are no numbers
        with np.errstate(over="ignore"):
            _finite(float(filled.max()) - float(filled.min()), name)
    quantiles, shares = _quantiles(taken) if rules.scale == "quantile" else ((), ())
    bounds = {"minimum": float(present.min()), "maximum": float(present.max())} if len(present) else {}
    return NumericCode(
        name=name,
        median=median,
        mean=mean,
        scale=scale,
        form=form,
        log=rules.log,
        smooth_clip=rules.smooth_clip,
        quantiles=quantiles,
        shares=shares,
        bins=_bins(present, rules.bins),
        indicator=rules.indicator and len(present) < len(values),
        cycles=form.cycles if isinstance(form, TimeForm) and rules.calendar else (),
        **bounds,
    )


def _centre_and_scale(values: NDArray[np.float64], scale: Scale, name: str) -> tuple[float, float]:
    """Return what is taken off, and what the rest is divided by: 1 for a constant column."""
    match scale:
        case "standard":
            return _mean_and_scale(values, name)
        case "minmax":
            lowest, highest = float(values.min()), float(values.max())
            return lowest, _finite(highest - lowest, name) or 1.0
        case "robust":
            low, middle, high = (float(each) for each in np.quantile(values, [0.25, 0.5, 0.75]))
            # half of all rows may have one value; then the range is what tells them apart
            spread = high - low or (float(values.max()) - float(values.min())) / 2
            return middle, _finite(spread, name) or 1.0
        case "quantile" | "none":
            return 0.0, 1.0
        case _:
            assert_never(scale)


def _finite(spread: float, name: str) -> float:
    if not np.isfinite(spread):
        raise DataError("spreads so far that its range is not finite: use another unit", column=name)
    return spread


def _quantiles(values: NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return distinct values of the column and the share of it that is below each; of equal quantiles, the mean share.

    Source: scikit-learn, QuantileTransformer, which interpolates in the same way.
    """
    shares = np.linspace(0, 1, min(QUANTILES, len(values)))
    edges, places = np.unique(np.quantile(values, shares), return_inverse=True)
    means = np.bincount(places, shares) / np.bincount(places)
    return tuple(edges.tolist()), tuple(means.tolist())


def _bins(present: NDArray[np.float64], count: int) -> tuple[float, ...]:
    """Return the edges of at most this many bins: quantiles, or the distinct values if those are fewer.

    Source: Gorishniy et al. 2022, On Embeddings for Numerical Features in Tabular Deep Learning, section 3.2.
    """
    distinct = np.unique(present)
    if not count or len(distinct) <= 2:
        return ()
    edges = distinct if len(distinct) <= count + 1 else np.unique(np.quantile(present, np.linspace(0, 1, count + 1)))
    return tuple(edges.tolist()) if len(edges) > 2 else ()


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
