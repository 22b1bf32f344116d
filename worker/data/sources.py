"""The built-in and generated tables, which need no upload."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.specs.dataset import BuiltinDataset, GeneratedDataset


def make_table(spec: BuiltinDataset | GeneratedDataset) -> pa.Table:
    """Return the table of a built-in or generated dataset. It has the same numbers each time."""
    return _builtin(spec.name) if isinstance(spec, BuiltinDataset) else _generated(spec)


@lru_cache(maxsize=8)
def _builtin(name: str) -> pa.Table:
    if name == "xor":
        return pa.table({"x1": [0, 0, 1, 1], "x2": [0, 1, 0, 1], "label": ["0", "1", "1", "0"]})
    # imported late: importing scikit-learn takes a second, and processes that only serve never need it
    from sklearn import datasets

    # the diabetes table in its own units, not standardised
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**options)
    columns: dict[str, Any] = {
        column.removesuffix(" (cm)"): bunch.data[:, n] for n, column in enumerate(bunch.feature_names)
    }
    if name == "diabetes":
        return pa.table(columns | {"target": bunch.target})
    return pa.table(columns | {"label": [str(bunch.target_names[label]) for label in bunch.target]})


def _generated(spec: GeneratedDataset) -> pa.Table:
    generator = np.random.default_rng(spec.seed)
    x, y = GENERATORS[spec.name](generator, spec.rows)
    if y.dtype.kind == "i":
        x = x + generator.normal(0, spec.noise, x.shape)
        return pa.table({"x1": x[:, 0], "x2": x[:, 1], "label": [str(label) for label in y]})
    y = y + generator.normal(0, spec.noise, y.shape)
    names = ["x"] if x.shape[1] == 1 else [f"x{n + 1}" for n in range(x.shape[1])]
    return pa.table({name: x[:, n] for n, name in enumerate(names)} | {"target": y})


Points = tuple[NDArray[np.float64], NDArray[Any]]


def _moons(generator: np.random.Generator, rows: int) -> Points:
    """Return points on two interleaved half circles, and which one each is on."""
    label = np.arange(rows) % 2
    angle = generator.uniform(0, np.pi, rows)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    return np.where(label[:, None] == 0, upper, lower), label


def _circles(generator: np.random.Generator, rows: int) -> Points:
    """Return points on a circle and on another of half its radius, and which one each is on."""
    label = np.arange(rows) % 2
    angle = generator.uniform(0, 2 * np.pi, rows)
    radius = np.where(label == 0, 1.0, 0.5)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), label


def _spirals(generator: np.random.Generator, rows: int) -> Points:
    """Return points on two spiral arms of one and a half turns each, and which one each is on."""
    label = np.arange(rows) % 2
    along = np.sqrt(generator.uniform(0.02, 1, rows))
    angle = 3 * np.pi * along + np.pi * label
    return 2 * np.stack([along * np.cos(angle), along * np.sin(angle)], axis=1), label


def _blobs(generator: np.random.Generator, rows: int) -> Points:
    """Return points at three places on the unit circle, which noise will spread into blobs, and each one's place."""
    label = generator.permutation(np.arange(rows) % 3)
    angle = 2 * np.pi * label / 3
    return np.stack([np.cos(angle), np.sin(angle)], axis=1), label


def _linear(generator: np.random.Generator, rows: int) -> Points:
    """Return x and y = 2 x1 - 3 x2 + 1."""
    x = generator.uniform(-1, 1, (rows, 2))
    return x, 2 * x[:, 0] - 3 * x[:, 1] + 1


def _sine(generator: np.random.Generator, rows: int) -> Points:
    """Return x and y = sin(x), over one and a half periods on each side of 0."""
    x = generator.uniform(-3 * np.pi, 3 * np.pi, (rows, 1))
    return x, np.sin(x[:, 0])


GENERATORS: dict[str, Callable[[np.random.Generator, int], Points]] = {
    "moons": _moons,
    "circles": _circles,
    "spirals": _spirals,
    "blobs": _blobs,
    "linear": _linear,
    "sine": _sine,
}
