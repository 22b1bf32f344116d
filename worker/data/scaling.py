"""Numbers of many columns -> inputs of a network: scaled, and beside that their bins and whether they are missing."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import DTypeLike, NDArray

from worker.data.encoders import Matrix, NumericCode

BLOCK_CELLS = 25_000
"""About how many numbers are standardised together: 1,000 rows of 784 numbers take 0.6 ms in blocks that fit the cache,
and 2.7 ms at once."""


def signed_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sign(x) log(1 + |x|)."""
    logs: NDArray[np.float64] = np.copysign(np.log1p(np.abs(values)), values)
    return logs


def smooth_clip(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x / sqrt(1 + (x/3)^2), which is nearly x for small x, and never past 3."""
    clipped: NDArray[np.float64] = values / np.hypot(1, values / 3)
    return clipped


class Scaling:
    """Scales the numeric columns of one network. Threads can share it.

    is_plain: whether each column becomes one input.
    is_linear: whether each becomes (value - mean) / scale, whatever is beside it.
    """

    def __init__(self, codes: Sequence[NumericCode], dtype: DTypeLike) -> None:
        self._dtype = dtype
        self._means = np.array([code.mean for code in codes])
        self._scales = np.array([code.scale for code in codes])
        # so it is in a network that was imported without encoders
        self._unscaled = not self._means.any() and bool((self._scales == 1).all())
        self._block_rows = 1 + BLOCK_CELLS // max(1, len(codes))
        self._logs = np.flatnonzero([code.log for code in codes])
        self._clips = np.flatnonzero([code.smooth_clip for code in codes])
        self._quantiles = [(n, code.quantiles, code.shares) for n, code in enumerate(codes) if code.quantiles]
        self.is_linear = not (len(self._logs) or len(self._clips) or self._quantiles)
        self.is_plain = all(code.width == 1 for code in codes)
        turns = [(n, period) for n, code in enumerate(codes) for period in code.cycles]
        self._turning = np.array([n for n, _ in turns], np.int64)
        self._turns = np.array([2 * np.pi / period for _, period in turns])
        self._indicated = np.flatnonzero([code.indicator for code in codes])
        edges = [(n, *edge) for n, code in enumerate(codes) for edge in pairwise(code.bins)]
        self._binned = np.array([n for n, _, _ in edges], np.int64)
        self._lower = np.array([lower for _, lower, _ in edges])
        self._spans = np.array([upper - lower for _, lower, upper in edges])

    def places(self, starts: Sequence[int], codes: Sequence[NumericCode]) -> NDArray[np.int64]:
        """Return where in the matrix the columns of `beside` belong. starts: where each column begins."""
        known = list(zip(starts, codes, strict=True))
        bins = [start + 1 + n for start, code in known for n in range(len(code.bins) - 1)]
        # each cycle's sine, and its cosine behind it
        ends = [start + code.width - code.indicator for start, code in known]
        sines = [end - 2 * n for end, code in zip(ends, codes, strict=True) for n in range(len(code.cycles), 0, -1)]
        last = [start + code.width - 1 for start, code in known if code.indicator]
        return np.array([*bins, *sines, *(sine + 1 for sine in sines), *last], np.int64)

    def scaled(self, values: NDArray[np.float64]) -> Matrix:
        """Return the scaled numbers, (rows, columns). One that the dtype can't hold is infinite."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self._unscaled and self.is_linear:
                return values.astype(self._dtype, copy=False)
            matrix: Matrix = np.empty(values.shape, self._dtype)
            for start in range(0, len(values), self._block_rows):
                rows = slice(start, start + self._block_rows)
                if self.is_linear:
                    block = values[rows] - self._means
                    matrix[rows] = np.divide(block, self._scales, out=block)
                else:
                    matrix[rows] = self._bent(values[rows])
        return matrix

    def _bent(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        logged = values.astype(np.float64)
        logged[:, self._logs] = signed_log(logged[:, self._logs])
        block = (logged - self._means) / self._scales
        for n, quantiles, shares in self._quantiles:
            # np.interp makes nothing of NaN that is not NaN
            block[:, n] = np.interp(logged[:, n], quantiles, shares)
        block[:, self._clips] = smooth_clip(block[:, self._clips])
        bent: NDArray[np.float64] = block
        return bent

    def beside(self, values: NDArray[np.float64], present: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the bins of all columns, then their cycles' sines and cosines, then their indicators, (rows, of all).

        values: with NaN for a missing cell. present: with medians there.
        """
        with np.errstate(over="ignore"):
            ramps = (present[:, self._binned] - self._lower) / self._spans
        angles = present[:, self._turning] * self._turns
        found = [np.clip(ramps, 0, 1, out=ramps), np.sin(angles), np.cos(angles), np.isnan(values[:, self._indicated])]
        beside: NDArray[np.float64] = np.concatenate(found, axis=1)
        return beside
