"""Predicting with a trained network: rows in, predictions in the user's own terms out. Many threads may share one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.data.encoders import CategoricalCode, LabelsTarget, Matrix, NumberTarget
from worker.errors import DataError
from worker.networks.outputs import Outputs, Prediction
from worker.networks.rows import Encoded, Row, RowEncoder
from worker.networks.trained import Trained


class Predictor:
    """Predicts with one trained network. Predicting changes nothing, so threads can share it."""

    def __init__(self, trained: Trained) -> None:
        self.network, self.parameters, self.encoders = trained.network, trained.parameters, trained.encoders
        self.rows = RowEncoder(trained.encoders, trained.parameters.flat.dtype)

    @property
    def categories(self) -> frozenset[str]:
        """The names of the features whose values are text, whatever they look like."""
        return frozenset(code.name for code in self.encoders.features if isinstance(code, CategoricalCode))

    @property
    def nbytes(self) -> int:
        """The size of the weights in bytes."""
        return self.parameters.flat.nbytes

    def predict_rows(self, rows: Sequence[Row]) -> Prediction:
        """Predict rows of raw values, by column name or in feature order. Raises DataError with row and column."""
        return self.predict(self.rows.encode(rows)).prediction()

    def predict_table(self, table: pa.Table) -> Prediction:
        """Predict the rows of a table that has the features' columns. Raises DataError with row and column."""
        return self.predict(self.rows.encode_table(table)).prediction()

    def predict(self, encoded: Encoded) -> Outputs:
        """Predict rows that `self.rows` has encoded. Raises DataError for a row that makes the network overflow."""
        with np.errstate(over="ignore", invalid="ignore"):
            values, spread = self.outputs(encoded.x)
        finite = np.isfinite(values)
        if np.count_nonzero(finite) < values.size:
            row = int(finite.all(axis=1).argmin())
            raise DataError("is so far from the training data that the network overflows", row=row)
        return Outputs(values, spread, self.encoders.target, encoded.warnings)

    def outputs(self, x: Matrix) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Return the predictions of encoded rows and their spread over an ensemble's members, each (rows, outputs).

        x: (rows, width). Predictions are numbers in the user's units, or probabilities. If the network has one output
        for two classes, both get a probability. The spread is a standard deviation; None for a single network.
        """
        a, target = self.network.forward(self.parameters, x), self.encoders.target
        if isinstance(target, NumberTarget):
            a = a.astype(np.float64) * target.scales + target.means
        elif a.shape[-1] == 1 and not isinstance(target, LabelsTarget):
            a = np.concatenate([1 - a, a], axis=-1)
        if self.parameters.members is None:
            return a, None
        return a.mean(axis=0), a.std(axis=0)
