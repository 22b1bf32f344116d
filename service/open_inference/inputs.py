"""The inputs of a request -> encoded rows. Shapes are checked before any tensor is read."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from service.open_inference.infer_body import Input, input_problem
from service.open_inference.signature import ENCODED_ROWS, ROWS, all_numbers
from service.open_inference.tensors import Tensor
from service.predict.requests import check_rows
from worker.data.encoders import CategoricalCode
from worker.networks.predictor import Predictor
from worker.networks.rows import Encoded, check_encoded


def encode_inputs(predictor: Predictor, inputs: Mapping[str, Input], *, encoded: bool) -> Encoded:
    """Return the encoded rows. encoded: whether the client has already encoded them.

    Raises Problem for inputs that the model does not have, and DataError for values that it can't take.
    """
    encoders = predictor.encoders
    if encoded:
        matrix = _matrix(predictor, inputs, ENCODED_ROWS, encoders.width)
        return check_encoded(matrix, encoders, predictor.parameters.flat.dtype)
    names = [code.name for code in encoders.features]
    if all_numbers(encoders) and (ROWS in inputs or inputs.keys().isdisjoint(names)):
        return predictor.rows.encode_array(_matrix(predictor, inputs, ROWS, len(names)))
    _check_names(inputs, names)
    _check_columns(predictor, inputs)
    columns = {
        code.name: _category(inputs[code.name]) if isinstance(code, CategoricalCode) else _floats(inputs[code.name])
        for code in encoders.features
    }
    with np.errstate(over="ignore"):
        return predictor.rows.encode_table(pa.table(columns))


def _check_names(inputs: Mapping[str, Input], names: Sequence[str]) -> None:
    missing = next((name for name in names if name not in inputs), None)
    unknown = next((name for name in inputs if name not in names), None)
    if unknown is not None:
        known = ", ".join(map(repr, names[:20]))
        raise input_problem(unknown, f"the model has none of this name; it takes {known}")
    if missing is not None:
        raise input_problem(missing, "is missing")


def _matrix(predictor: Predictor, inputs: Mapping[str, Input], name: str, width: int) -> Tensor:
    """Return the only input, of shape (rows, width)."""
    _check_names(inputs, [name])
    shape = inputs[name].shape
    if len(shape) != 2 or shape[1] != width:
        raise input_problem(name, f"must be of shape [-1, {width}], got {shape}")
    check_rows(predictor, shape[0])
    return _numbers(inputs[name])


def _check_columns(predictor: Predictor, inputs: Mapping[str, Input]) -> None:
    """Raise Problem unless every input has one value for each row: shape (rows,) or (rows, 1)."""
    rows = next(iter(next(iter(inputs.values())).shape), 0)
    for name, given in inputs.items():
        if given.shape not in ([rows], [rows, 1]):
            raise input_problem(name, f"must be of shape [{rows}] or [{rows}, 1] as the first, got {given.shape}")
    check_rows(predictor, rows)


def _numbers(given: Input) -> Tensor:
    if given.known.datatype in ("BOOL", "BYTES"):
        raise input_problem(given.known.name, f"must be numbers, got {given.known.datatype}")
    return given.tensor()


def _floats(given: Input) -> pa.Array:
    return pa.array(_numbers(given).astype(np.float64).ravel())


def _category(given: Input) -> pa.Array:
    """Return the cells of a category: texts, numbers or truth values. An empty element is a missing cell."""
    if given.known.datatype != "BYTES":
        return pa.array(given.tensor().ravel())
    texts = []
    for n, element in enumerate(given.tensor().flat):
        try:
            texts.append(element.decode())
        except UnicodeDecodeError as error:
            raise input_problem(given.known.name, f"element {n} is not UTF-8") from error
    return pa.array(texts, pa.string())
