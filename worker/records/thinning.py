"""Fewer points of a long curve: those at which a figure is highest or lowest, so that no peak is lost."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.records.packing import METRIC, Columns, chosen

FIGURES = ("train_loss", "validation_loss", "gradient_norm")
"The figures whose extremes are kept, as are those of each metric."


def extremes(columns: Columns, width: int) -> NDArray[np.bool_]:
    """Return which epochs are extremes of their bucket, as a boolean for each epoch.

    In each bucket of `width` epochs they are, for each figure, the first epoch with its lowest and its highest value,
    and the last epoch. Buckets are aligned: for a width that is a multiple, the extremes are among these extremes.
    """
    bucket = (columns["epoch"] - 1) // width
    starts = np.flatnonzero(_is_first(bucket))
    lengths = np.diff(starts, append=len(bucket))
    kept = np.zeros(len(bucket), np.bool_)
    kept[starts + lengths - 1] = True
    for name, column in columns.items():
        if name not in FIGURES and not name.startswith(METRIC):
            continue
        # a metric that an epoch does not have is infinite
        values = np.where(np.isfinite(column), column, np.nan)
        for extreme in (np.fmin, np.fmax):
            found = np.flatnonzero(values == np.repeat(extreme.reduceat(values, starts), lengths))
            kept[found[_is_first(bucket[found])]] = True
    return kept


def summary(columns: Columns, width: int) -> Columns:
    """Return the extremes of each bucket, and every epoch with figures of layers: a job has at most 256 of these."""
    return chosen(columns, extremes(columns, width) | (columns["has_layers"] == 1))


def thinned(columns: Columns, most: int, *, pinned: NDArray[np.bool_]) -> Columns:
    """Return at most `most` points of a curve: the extremes of the narrowest buckets that leave so few, and the pinned.

    pinned: which points are kept in any case, if the widest buckets leave room for them.
    """
    positions, width = np.arange(len(pinned)), 1
    while len(positions) > most and width < 2 * columns["epoch"][-1]:
        width *= 2
        part = chosen(columns, positions)
        positions = positions[extremes(part, width) | pinned[positions]]
    if len(positions) > most:
        positions = positions[np.linspace(0, len(positions) - 1, most).round().astype(np.int64)]
    return chosen(columns, positions)


def _is_first(bucket: NDArray[Any]) -> NDArray[Any]:
    """Return for each position whether it is the first of its bucket."""
    is_first: NDArray[Any] = np.diff(bucket, prepend=-1) != 0
    return is_first
