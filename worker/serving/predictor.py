"""A trained network with its encoders: rows in, predictions in the user's own terms out. Safe in many threads."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.backprop.arrays import Floats
from worker.build import LAYERS, build_network
from worker.data.encoders import CategoricalCode, ClassTarget, Encoders, Matrix, encode_table
from worker.errors import DataError
from worker.serving.rows import Row, RowEncoder


class Prediction(NamedTuple):
    """A class or a number a row, or a list where there are several targets. A regression has no classes."""

    predictions: list[Any]
    classes: list[str] | None
    probabilities: list[list[float]] | None


class Predictor:
    """Built once from published weights; predicting changes nothing in it."""

    def __init__(
        self, network: list[dict[str, Any]], encoders: Mapping[str, Any], arrays: Mapping[str, Floats]
    ) -> None:
        self.encoders = Encoders.model_validate(encoders)
        self.network = build_network(LAYERS.validate_python(network), self.encoders.width)
        self.parameters = self.network.parameters(np.float32)
        self.parameters.load(arrays)
        self._rows = RowEncoder(self.encoders)

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
        return self._predict(encode_table(table, self.encoders))

    def outputs(self, x: Matrix) -> NDArray[Any]:
        """Of encoded rows: probabilities (rows, classes), or numbers in the user's units (rows, outputs)."""
        a = self.network.forward(self.parameters, x)
        target = self.encoders.target
        if isinstance(target, ClassTarget):
            return a
        return a.astype(np.float64) * target.scales + target.means

    def _predict(self, x: Matrix) -> Prediction:
        with np.errstate(over="ignore", invalid="ignore"):
            outputs = self.outputs(x)
        finite = np.isfinite(outputs).all(axis=1)
        if not finite.all():
            raise DataError("is so far from the training data that the network overflows", row=int(finite.argmin()))
        target = self.encoders.target
        if isinstance(target, ClassTarget):
            labels = outputs.argmax(axis=1)
            return Prediction([target.classes[n] for n in labels], list(target.classes), outputs.tolist())
        single = len(target.names) == 1
        return Prediction(outputs[:, 0].tolist() if single else outputs.tolist(), None, None)
