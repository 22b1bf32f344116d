"""The inputs and outputs of a model as tensors: their names, datatypes, shapes and values."""

from typing import Any, NamedTuple

import numpy as np

from service.open_inference.tensors import BYTES, Tensor, array_of_texts, datatype_of
from worker.data.encoders import CategoricalCode, ClassTarget, Encoders, LabelsTarget, NumberTarget, Target
from worker.networks.outputs import Outputs
from worker.networks.predictor import Predictor

ROWS = "rows"
"The only input of a model whose features are all numbers. Such a model also accepts one input for each feature."
ENCODED_ROWS = "encoded"
PREDICTIONS, PROBABILITIES, SPREAD = "predictions", "probabilities", "spread"


class TensorDescription(NamedTuple):
    """An input or output as the model's metadata show it.

    width: how many values a row has; None for a tensor of one dimension.
    labels: the names of its columns.
    """

    name: str
    datatype: str
    width: int | None
    labels: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        shape = [-1] if self.width is None else [-1, self.width]
        return {"name": self.name, "datatype": self.datatype, "shape": shape}


def all_numbers(encoders: Encoders) -> bool:
    """Return whether no feature is a category."""
    return not any(isinstance(code, CategoricalCode) for code in encoders.features)


def describe_inputs(predictor: Predictor, *, encoded: bool) -> list[TensorDescription]:
    """Return the inputs that a request should have. encoded: whether to return those of NAME.encoded."""
    encoders = predictor.encoders
    if encoded:
        return [TensorDescription(ENCODED_ROWS, datatype_of(predictor.parameters.flat), encoders.width)]
    if all_numbers(encoders):
        return [TensorDescription(ROWS, "FP32", len(encoders.features))]
    return [
        TensorDescription(code.name, BYTES if isinstance(code, CategoricalCode) else "FP64", None)
        for code in encoders.features
    ]


def describe_outputs(predictor: Predictor) -> list[TensorDescription]:
    """Return the outputs that an answer has."""
    target, datatype = predictor.encoders.target, datatype_of(predictor.parameters.flat)
    labels = _labels(target)
    if isinstance(target, NumberTarget):
        datatype = "FP64"
        outputs = [TensorDescription(PREDICTIONS, datatype, len(labels), labels)]
    elif isinstance(target, LabelsTarget):
        outputs = [TensorDescription(PREDICTIONS, "INT64", len(labels), labels)]
    else:
        outputs = [TensorDescription(PREDICTIONS, BYTES, None)]
    if not isinstance(target, NumberTarget):
        outputs.append(TensorDescription(PROBABILITIES, datatype, len(labels), labels))
    if predictor.parameters.members is not None:
        outputs.append(TensorDescription(SPREAD, datatype, len(labels), labels))
    return outputs


def _labels(target: Target) -> tuple[str, ...]:
    return target.classes if isinstance(target, ClassTarget) else target.names


def output_tensor(outputs: Outputs, name: str) -> Tensor:
    """Return the output of this name, one of those that `describe_outputs` returns."""
    if name == SPREAD and outputs.spread is not None:
        return outputs.spread
    if name == PREDICTIONS and isinstance(outputs.target, LabelsTarget):
        return (outputs.values > 0.5).astype(np.int64)
    if name == PREDICTIONS and isinstance(outputs.target, ClassTarget):
        called: Tensor = array_of_texts(outputs.target.classes)[outputs.values.argmax(axis=1)]
        return called
    return outputs.values


def highest_as_texts(tensor: Tensor, labels: tuple[str, ...], k: int) -> Tensor:
    """Return the k highest of each row as texts `value:index:label`, (rows, k): the classification extension.

    Equal values are in order of their columns. A value is the shortest text that reads back as the same number.
    Source: triton-inference-server/server, docs/protocol/extension_classification.md.
    """
    highest = np.argsort(-tensor, axis=1, kind="stable")[:, :k]
    texts = [f"{row[n]!s}:{n}:{labels[n]}" for row, order in zip(tensor, highest.tolist(), strict=True) for n in order]
    return array_of_texts(texts).reshape(highest.shape)
