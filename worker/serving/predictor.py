"""A trained network with its encoders: rows in, predictions in the user's own terms out. Safe in many threads."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.backprop.arrays import Floats
from worker.build.layers import LAYERS, build_network
from worker.data.encoders import CategoricalCode, Encoders, LabelsTarget, Matrix, NumberTarget, encode_table
from worker.errors import DataError
from worker.serving.rows import Row, RowEncoder


class Prediction(NamedTuple):
    """A class or a number a row, or a list where there are several targets.

    classes and probabilities: of a category, or of labels that are each there or not; None for numbers. spread: of an
    ensemble, the standard deviation over its members of what it gives: of probabilities, or of numbers.
    """

    predictions: list[Any]
    classes: list[str] | None
    probabilities: list[list[float]] | None
    spread: list[Any] | None


class Predictor:
    """Built once from published weights; predicting changes nothing in it."""

    def __init__(
        self, network: list[dict[str, Any]], encoders: Mapping[str, Any], arrays: Mapping[str, Floats]
    ) -> None:
        self.encoders = Encoders.model_validate(encoders)
        self.network = build_network(LAYERS.validate_python(network), self.encoders.width)
        members = {name.split(".")[1] for name in arrays if name.startswith("members.")}
        dtype = next(iter(arrays.values())).dtype
        self.parameters = self.network.parameters(dtype, len(members) or None)
        self.parameters.load(arrays)
        self._rows = RowEncoder(self.encoders, dtype)

    @property
    def categories(self) -> frozenset[str]:
        """The features whose values are text, whatever they look like."""
        return frozenset(code.name for code in self.encoders.features if isinstance(code, CategoricalCode))

    @property
    def nbytes(self) -> int:
        return self.parameters.flat.nbytes

    def predict_rows(self, rows: Sequence[Row]) -> Prediction:
        """Rows of raw values, by column name or in feature order. Raises DataError with row and column."""
        return self._predict(self._rows.encode(rows))

    def predict_table(self, table: pa.Table) -> Prediction:
        """Rows of a table with the features' columns. Raises DataError with row and column."""
        return self._predict(encode_table(table, self.encoders, dtype=self.parameters.flat.dtype))

    def outputs(self, x: Matrix) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Of encoded rows, and their spread over an ensemble's members: each (rows, outputs).

        Probabilities, those of both classes where one output tells them apart, or numbers in the user's units.
        """
        a, target = self.network.forward(self.parameters, x), self.encoders.target
        if isinstance(target, NumberTarget):
            a = a.astype(np.float64) * target.scales + target.means
        elif a.shape[-1] == 1 and not isinstance(target, LabelsTarget):
            a = np.concatenate([1 - a, a], axis=-1)
        if self.parameters.members is None:
            return a, None
        return a.mean(axis=0), a.std(axis=0)

    def _predict(self, x: Matrix) -> Prediction:
        with np.errstate(over="ignore", invalid="ignore"):
            outputs, spread = self.outputs(x)
        finite = np.isfinite(outputs).all(axis=1)
        if not finite.all():
            raise DataError("is so far from the training data that the network overflows", row=int(finite.argmin()))
        target = self.encoders.target
        spreads = None if spread is None else spread.tolist()
        if isinstance(target, NumberTarget):
            if len(target.names) > 1:
                return Prediction(outputs.tolist(), None, None, spreads)
            return Prediction(outputs[:, 0].tolist(), None, None, None if spread is None else spread[:, 0].tolist())
        if isinstance(target, LabelsTarget):
            there = (outputs > 0.5).astype(int).tolist()
            return Prediction(there, list(target.names), outputs.tolist(), spreads)
        labels = outputs.argmax(axis=1)
        return Prediction([target.classes[n] for n in labels], list(target.classes), outputs.tolist(), spreads)
