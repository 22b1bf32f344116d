"""Predicting with a trained network: rows in, predictions in the user's own terms out. Many threads may share one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.backprop.layers.layer import Layer
from worker.backprop.layers.residual import Residual
from worker.data.encoders import CategoricalCode, ClassTarget, Matrix
from worker.errors import DataError
from worker.networks.outputs import Outputs, Prediction, in_own_terms
from worker.networks.rows import Encoded, Row, RowEncoder
from worker.networks.trained import Trained

BLOCK_BYTES = 16 * 2**20
"""How much memory one layer's z and a may take; the rows past that are computed in further blocks. At once, 100,000
rows through 4,096 units took 4.9 GB."""
FEATURE_BYTES, OUTPUT_BYTES, RANKED_BYTES = 16, 60, 400
"""What a cell takes as a number and its copy; an output as a number, in a list, and in the answer's text; and a class
with its probability as an object, beside its letters. The letters are in the answer, and in what it is made of."""


class Predictor:
    """Predicts with one trained network. Predicting changes nothing, so threads can share it."""

    def __init__(self, trained: Trained) -> None:
        self.network, self.parameters, self.encoders = trained.network, trained.parameters, trained.encoders
        self.rows = RowEncoder(trained.encoders, trained.parameters.flat.dtype)
        # z and a of the widest layer
        row_bytes = 2 * _widest(trained.network.layers) * (trained.members or 1) * trained.parameters.flat.itemsize
        self._rows_at_once = max(1, BLOCK_BYTES // row_bytes)
        classes = self.encoders.target.classes if isinstance(self.encoders.target, ClassTarget) else ()
        self._classes, self._longest_class = len(classes), max((len(name) for name in classes), default=0)
        outputs = self.network.outputs * (1 if self.parameters.members is None else 2)
        width = self.encoders.width * self.parameters.flat.itemsize
        self._row_bytes = FEATURE_BYTES * len(self.encoders.features) + width + OUTPUT_BYTES * outputs

    @property
    def categories(self) -> frozenset[str]:
        """The names of the features whose values are text, whatever they look like."""
        return frozenset(code.name for code in self.encoders.features if isinstance(code, CategoricalCode))

    @property
    def nbytes(self) -> int:
        """The size of the weights in bytes."""
        return self.parameters.flat.nbytes

    def row_bytes(self, ranked: int = 0) -> int:
        """Return about how many bytes it takes to predict one row, without what its layers compute.

        ranked: how many classes the answer has for each row, each with its probability. Otherwise it has one name.
        """
        named = min(ranked, self._classes)
        return self._row_bytes + named * RANKED_BYTES + max(1, named) * 4 * self._longest_class

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
        if len(x) <= self._rows_at_once:
            return self._outputs_of_block(x)
        blocks = [
            self._outputs_of_block(x[start : start + self._rows_at_once])
            for start in range(0, len(x), self._rows_at_once)
        ]
        spreads = [spread for _, spread in blocks if spread is not None]
        return np.concatenate([values for values, _ in blocks]), np.concatenate(spreads) if spreads else None

    def _outputs_of_block(self, x: Matrix) -> tuple[NDArray[Any], NDArray[Any] | None]:
        a = in_own_terms(self.network.forward(self.parameters, x), self.encoders.target)
        if self.parameters.members is None:
            return a, None
        return a.mean(axis=0), a.std(axis=0)


def _widest(layers: Sequence[Layer]) -> int:
    """Return the units of the widest of these layers and of the layers within them."""
    return max(max(layer.units, _widest(layer.layers) if isinstance(layer, Residual) else 0) for layer in layers)
