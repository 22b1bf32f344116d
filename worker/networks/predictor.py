"""A trained network with its encoders: rows in, predictions in the user's own terms out. Safe in many threads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.backprop.arrays import Floats
from worker.data.encoders import CategoricalCode, Encoders, LabelsTarget, Matrix, NumberTarget
from worker.errors import DataError
from worker.networks.layers import LAYERS, build_network
from worker.networks.outputs import Outputs, Prediction
from worker.networks.rows import Encoded, Row, RowEncoder


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
        self.rows = RowEncoder(self.encoders, dtype)

    @property
    def categories(self) -> frozenset[str]:
        """The features whose values are text, whatever they look like."""
        return frozenset(code.name for code in self.encoders.features if isinstance(code, CategoricalCode))

    @property
    def nbytes(self) -> int:
        return self.parameters.flat.nbytes

    def predict_rows(self, rows: Sequence[Row]) -> Prediction:
        """Rows of raw values, by column name or in feature order. Raises DataError with row and column."""
        return self.predict(self.rows.encode(rows)).prediction()

    def predict_table(self, table: pa.Table) -> Prediction:
        """Rows of a table with the features' columns. Raises DataError with row and column."""
        return self.predict(self.rows.encode_table(table)).prediction()

    def predict(self, encoded: Encoded) -> Outputs:
        """Of rows that `rows` has taken. Raises DataError for a row that makes the network overflow."""
        with np.errstate(over="ignore", invalid="ignore"):
            values, spread = self.outputs(encoded.x)
        finite = np.isfinite(values)
        if np.count_nonzero(finite) < values.size:
            row = int(finite.all(axis=1).argmin())
            raise DataError("is so far from the training data that the network overflows", row=row)
        return Outputs(values, spread, self.encoders.target, encoded.warnings)

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
