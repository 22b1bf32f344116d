"""Predictions in the user's own terms: as lists, as a table, or as one array."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.data.encoders import LabelsTarget, NumberTarget, Target
from worker.errors import SpecError
from worker.networks.ranges import NONE, Warnings
from worker.specs.prediction import PredictionOptions


def in_own_terms(a: NDArray[Any], target: Target) -> NDArray[Any]:
    """Return outputs of a network, (..., rows, units), as probabilities, or as numbers in the target's own units.

    If the network has one output for two classes, both get a probability.
    """
    if isinstance(target, NumberTarget):
        numbers: NDArray[Any] = a.astype(np.float64) * target.scales + target.means
        return numbers
    if a.shape[-1] == 1 and not isinstance(target, LabelsTarget):
        return np.concatenate([1 - a, a], axis=-1)
    return a


class Prediction(NamedTuple):
    """Predictions as lists.

    predictions: a class or a number for each row; for several targets, a list of labels or numbers.
    classes: the names of the classes, or of labels that are 0 or 1; None for numbers.
    probabilities: for each row, that of each class or label; None for numbers.
    spread: the standard deviation over an ensemble's members, of the probabilities or the numbers; None for a single
        network.
    warnings: warnings about values outside the range that training saw.
    """

    predictions: list[Any]
    classes: list[str] | None
    probabilities: list[list[float]] | None
    spread: list[Any] | None
    warnings: Warnings = NONE


class Outputs(NamedTuple):
    """What a network predicts for some rows.

    values: probabilities, or numbers in the target's own units, (rows, outputs).
    spread: their standard deviation over an ensemble's members, in the same shape; None for a single network.
    target: how the values are to be read.
    warnings: warnings about values outside the range that training saw.
    """

    values: NDArray[Any]
    spread: NDArray[Any] | None
    target: Target
    warnings: Warnings

    @property
    def names(self) -> list[str] | None:
        """The classes or labels; None for numbers."""
        if isinstance(self.target, NumberTarget):
            return None
        return list(self.target.names if isinstance(self.target, LabelsTarget) else self.target.classes)

    def prediction(self) -> Prediction:
        """Return the predictions as lists."""
        values, spread, target = self.values, self.spread, self.target
        spreads = None if spread is None else spread.tolist()
        if isinstance(target, NumberTarget):
            if len(target.names) > 1:
                return Prediction(values.tolist(), None, None, spreads, self.warnings)
            alone = None if spread is None else spread[:, 0].tolist()
            return Prediction(values[:, 0].tolist(), None, None, alone, self.warnings)
        return Prediction(self._called(), self.names, values.tolist(), spreads, self.warnings)

    def _called(self) -> list[Any]:
        """Return the most probable class of each row, or 1 or 0 for each of its labels."""
        if isinstance(self.target, LabelsTarget):
            there: list[Any] = (self.values > 0.5).astype(int).tolist()
            return there
        names = self.names or []
        return [names[n] for n in self.values.argmax(axis=1)]

    def top(self, k: int) -> tuple[list[list[str]], NDArray[Any]]:
        """Return each row's k most probable classes or labels, and their probabilities, (rows, k).

        If two are equally probable, the one that comes first in `names` comes first. Raises SpecError for numbers.
        """
        names = self.names
        if names is None:
            raise SpecError("/top_k", "is for classes; this model predicts numbers")
        order = np.argsort(-self.values, axis=1, kind="stable")[:, :k]
        return [[names[n] for n in row] for row in order.tolist()], np.take_along_axis(self.values, order, axis=1)

    def table(self, options: PredictionOptions) -> pa.Table:
        """Return a table with one row for each predicted row, and the columns that the options ask for."""
        columns: dict[str, Any] = {}
        if options.top_k is not None:
            called, probable = self.top(options.top_k)
            for n in range(probable.shape[1]):
                columns[f"top {n + 1}"] = pa.array([row[n] for row in called], pa.string())
                if options.probabilities:
                    columns[f"probability of top {n + 1}"] = probable[:, n]
            return pa.table(columns)
        if self.names is None:
            columns |= _columns("prediction", self.values)
        elif isinstance(self.target, LabelsTarget):
            columns |= _columns("prediction", (self.values > 0.5).astype(np.int64))
        else:
            columns["prediction"] = pa.array(self._called(), pa.string())
        if options.probabilities:
            columns |= {f"probability of {name}": self.values[:, n] for n, name in enumerate(self.names or ())}
        if self.spread is not None and (options.probabilities or self.names is None):
            columns |= _columns("spread", self.spread)
        return pa.table(columns)

    def array(self, options: PredictionOptions) -> NDArray[Any]:
        """Return numbers as (rows,), or as (rows, targets) if there are several targets.

        For classes or labels return the probabilities, (rows, classes). If the options leave them out, return the
        position of each row's class among the classes, (rows,), or 1 or 0 for each label, (rows, labels). Raises
        SpecError for top_k, which gives names.
        """
        if options.top_k is not None:
            raise SpecError("/top_k", "can't be answered as an array; ask for another media type")
        if self.names is None:
            return self.values[:, 0] if self.values.shape[1] == 1 else self.values
        if options.probabilities:
            return self.values
        if isinstance(self.target, LabelsTarget):
            return (self.values > 0.5).astype(np.int64)
        most: NDArray[Any] = self.values.argmax(axis=1)
        return most


def _columns(name: str, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return one column, or a numbered column for each value of a row if there are several."""
    if values.shape[1] == 1:
        return {name: values[:, 0]}
    return {f"{name} {n}": values[:, n] for n in range(values.shape[1])}
