"""What a model takes and gives as tensors: their names, datatypes and shapes."""

from typing import Any, NamedTuple

import numpy as np

from service.open_inference.tensors import BYTES, Tensor, array_of_texts, datatype_of
from worker.data.encoders import CategoricalCode, ClassTarget, Encoders, LabelsTarget, NumberTarget, Target
from worker.networks.outputs import Outputs
from worker.networks.predictor import Predictor

ROWS = "rows"
"The one input of a model whose features are all numbers; it takes them one by one too."
ENCODED_ROWS = "encoded"
PREDICTIONS, PROBABILITIES, SPREAD = "predictions", "probabilities", "spread"


class Described(NamedTuple):
    """width: of a row; None: a tensor of one dimension. labels: what its columns are called."""

    name: str
    datatype: str
    width: int | None
    labels: tuple[str, ...] = ()

    def shown(self) -> dict[str, Any]:
        shape = [-1] if self.width is None else [-1, self.width]
        return {"name": self.name, "datatype": self.datatype, "shape": shape}


def all_numbers(encoders: Encoders) -> bool:
    return not any(isinstance(code, CategoricalCode) for code in encoders.features)


def inputs_of(predictor: Predictor, *, encoded: bool) -> list[Described]:
    """What a request should have, as the metadata tell it."""
    encoders = predictor.encoders
    if encoded:
        return [Described(ENCODED_ROWS, datatype_of(predictor.parameters.flat), encoders.width)]
    if all_numbers(encoders):
        return [Described(ROWS, "FP32", len(encoders.features))]
    return [
        Described(code.name, BYTES if isinstance(code, CategoricalCode) else "FP64", None) for code in encoders.features
    ]


def outputs_of(predictor: Predictor) -> list[Described]:
    """What an answer has."""
    target, datatype = predictor.encoders.target, datatype_of(predictor.parameters.flat)
    labels = _labels(target)
    if isinstance(target, NumberTarget):
        datatype = "FP64"
        outputs = [Described(PREDICTIONS, datatype, len(labels), labels)]
    elif isinstance(target, LabelsTarget):
        outputs = [Described(PREDICTIONS, "INT64", len(labels), labels)]
    else:
        outputs = [Described(PREDICTIONS, BYTES, None)]
    if not isinstance(target, NumberTarget):
        outputs.append(Described(PROBABILITIES, datatype, len(labels), labels))
    if predictor.parameters.members is not None:
        outputs.append(Described(SPREAD, datatype, len(labels), labels))
    return outputs


def _labels(target: Target) -> tuple[str, ...]:
    return target.classes if isinstance(target, ClassTarget) else target.names


def output_tensor(outputs: Outputs, name: str) -> Tensor:
    """One of the outputs that `outputs_of` describes."""
    if name == SPREAD and outputs.spread is not None:
        return outputs.spread
    if name == PREDICTIONS and isinstance(outputs.target, LabelsTarget):
        return (outputs.values > 0.5).astype(np.int64)
    if name == PREDICTIONS and isinstance(outputs.target, ClassTarget):
        called: Tensor = array_of_texts(outputs.target.classes)[outputs.values.argmax(axis=1)]
        return called
    return outputs.values


def classified(tensor: Tensor, labels: tuple[str, ...], k: int) -> Tensor:
    """The k highest of each row as texts `value:index:label`, (rows, k): the classification extension.

    Of equals the first. Values are written as shortly as reads back to the same number. Source:
    triton-inference-server/server, docs/protocol/extension_classification.md.
    """
    highest = np.argsort(-tensor, axis=1, kind="stable")[:, :k]
    texts = [f"{row[n]!s}:{n}:{labels[n]}" for row, order in zip(tensor, highest.tolist(), strict=True) for n in order]
    return array_of_texts(texts).reshape(highest.shape)
