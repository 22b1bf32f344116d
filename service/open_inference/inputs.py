"""The inputs of a request -> what the network takes. Shapes are seen to fit before any tensor is read."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from service.open_inference.messages import Input, refused
from service.open_inference.signature import ENCODED_ROWS, ROWS, all_numbers
from service.open_inference.tensors import Tensor
from service.problems import Problem
from worker.data.encoders import CategoricalCode
from worker.networks.encoded import check_encoded
from worker.networks.predictor import Predictor
from worker.networks.rows import Encoded


def take_inputs(predictor: Predictor, inputs: Mapping[str, Input], *, encoded: bool, rows_limit: int) -> Encoded:
    """Raises a Problem for inputs that are not the model's, DataError for values that it can't take."""
    encoders = predictor.encoders
    if encoded:
        matrix = _matrix(inputs, ENCODED_ROWS, encoders.width, rows_limit)
        return check_encoded(matrix, encoders, predictor.parameters.flat.dtype)
    names = [code.name for code in encoders.features]
    if all_numbers(encoders) and (ROWS in inputs or inputs.keys().isdisjoint(names)):
        return predictor.rows.encode_array(_matrix(inputs, ROWS, len(names), rows_limit))
    _check_names(inputs, names)
    _check_columns(inputs, rows_limit)
    columns = {
        code.name: _texts(inputs[code.name]) if isinstance(code, CategoricalCode) else _floats(inputs[code.name])
        for code in encoders.features
    }
    with np.errstate(over="ignore"):
        return predictor.rows.encode_table(pa.table(columns))


def _check_names(inputs: Mapping[str, Input], names: Sequence[str]) -> None:
    missing = next((name for name in names if name not in inputs), None)
    unknown = next((name for name in inputs if name not in names), None)
    if unknown is not None:
        raise refused(unknown, f"the model has none of this name; it takes {', '.join(map(repr, names[:20]))}")
    if missing is not None:
        raise refused(missing, "is missing")


def _matrix(inputs: Mapping[str, Input], name: str, width: int, rows_limit: int) -> Tensor:
    """The one input, of shape (rows, width)."""
    _check_names(inputs, [name])
    shape = inputs[name].shape
    if len(shape) != 2 or shape[1] != width:
        raise refused(name, f"must be of shape [-1, {width}], got {shape}")
    _check_rows(shape[0], rows_limit)
    return _numbers(inputs[name])


def _check_columns(inputs: Mapping[str, Input], rows_limit: int) -> None:
    """One value a row: of shape (rows,), or (rows, 1)."""
    rows = next(iter(next(iter(inputs.values())).shape), 0)
    for name, given in inputs.items():
        if given.shape not in ([rows], [rows, 1]):
            raise refused(name, f"must be of shape [{rows}] or [{rows}, 1] as the first, got {given.shape}")
    _check_rows(rows, rows_limit)


def _check_rows(rows: int, limit: int) -> None:
    if rows > limit:
        raise Problem(413, f"{rows} rows at once; the limit is {limit}")


def _numbers(given: Input) -> Tensor:
    if given.known.datatype in ("BOOL", "BYTES"):
        raise refused(given.known.name, f"must be numbers, got {given.known.datatype}")
    return given.tensor()


def _floats(given: Input) -> pa.Array:
    return pa.array(_numbers(given).astype(np.float64).ravel())


def _texts(given: Input) -> pa.Array:
    """A category's texts; one without bytes is missing."""
    if given.known.datatype != "BYTES":
        raise refused(given.known.name, f"is a category: BYTES, got {given.known.datatype}")
    texts = []
    for n, element in enumerate(given.tensor().flat):
        try:
            texts.append(element.decode() or None)
        except UnicodeDecodeError as error:
            raise refused(given.known.name, f"element {n} is not UTF-8") from error
    return pa.array(texts, pa.string())
