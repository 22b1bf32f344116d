"""The outputs of the graph: predictions in the user's own terms, probabilities, and an ensemble's spread."""

from typing import assert_never

import numpy as np
from onnx import TensorProto, helper

from worker.data.encoders import ClassTarget, LabelsTarget, NumberTarget, Target
from worker.networks.onnx.graph import Graph

PREDICTIONS, PROBABILITIES, SPREAD = "predictions", "probabilities", "spread"
REFUSED_LABEL = -1
"The prediction of a label in a refused row: one with a category that training never saw."


def add_outputs(graph: Graph, target: Target, a: str, *, units: int, stacked: bool, refused: str | None) -> None:
    """Add the outputs `predictions` and, if there are any, `probabilities` and `spread`, as in `Predictor.outputs`.

    Predictions are texts (rows,) for classes; otherwise numbers or labels (rows, targets).
    units: the units of the output layer.
    stacked: whether a has an ensemble's members as its first axis.
    refused: the name of the condition for rows that predicting would refuse, (rows, 1). A graph can't refuse, so in
        these rows numbers are NaN, labels are -1, and the class is "".
    """
    kind = graph.type
    columns = len(target.classes) if isinstance(target, ClassTarget) else len(target.names)
    if isinstance(target, NumberTarget):
        a, kind = _in_units(graph, target, a), TensorProto.DOUBLE
    elif isinstance(target, ClassTarget) and units == 1:
        a = _of_both_classes(graph, a)
    spread = None
    if stacked:
        a, spread = _mean_and_spread(graph, a)
    values = _unless(graph, refused, a, np.nan, kind)
    match target:
        case NumberTarget():
            graph.output(PREDICTIONS, values, kind, columns)
        case LabelsTarget():
            graph.output(PREDICTIONS, _labels(graph, a, refused), TensorProto.INT64, columns)
            graph.output(PROBABILITIES, values, kind, columns)
        case ClassTarget():
            graph.output(PREDICTIONS, _class(graph, target, a, refused), TensorProto.STRING, None)
            graph.output(PROBABILITIES, values, kind, columns)
        case _:
            assert_never(target)
    if spread is not None:
        graph.output(SPREAD, _unless(graph, refused, spread, np.nan, kind), kind, columns)


def _in_units(graph: Graph, target: NumberTarget, a: str) -> str:
    """Convert the network's a from standardised numbers to the user's units."""
    wide = graph.add("Cast", a, named="output", to=TensorProto.DOUBLE)
    scaled = graph.add("Mul", wide, graph.constant("scales", target.scales, np.float64), named="scaled")
    return graph.add("Add", scaled, graph.constant("means", target.means, np.float64), named="in units")


def _of_both_classes(graph: Graph, a: str) -> str:
    """Return the probabilities of two classes. A single output is that of the second."""
    first = graph.add("Sub", graph.number(1), a, named="of the first")
    return graph.add("Concat", first, a, named="of both", axis=-1)


def _mean_and_spread(graph: Graph, a: str) -> tuple[str, str]:
    """Return the mean and the standard deviation over the members, the first axis."""
    mean = graph.add("ReduceMean", a, named="mean", axes=[0], keepdims=0)
    difference = graph.add("Sub", a, mean, named="difference")
    square = graph.add("Mul", difference, difference, named="square")
    variance = graph.add("ReduceMean", square, named="variance", axes=[0], keepdims=0)
    return mean, graph.add("Sqrt", variance, named="deviation")


def _class(graph: Graph, target: ClassTarget, probabilities: str, refused: str | None) -> str:
    number = graph.add("ArgMax", probabilities, named="class number", axis=1, keepdims=0)
    label = graph.add("Gather", graph.texts("classes", target.classes), number, named="class", axis=0)
    if refused is None:
        return label
    rows = graph.add("Squeeze", refused, graph.constant("last axis", [1], np.int64), named="refused rows")
    return graph.add("Where", rows, graph.texts("no class", [""]), label, named="class or none")


def _labels(graph: Graph, probabilities: str, refused: str | None) -> str:
    there = graph.add("Greater", probabilities, graph.number(0.5), named="there")
    labels = graph.add("Cast", there, named="labels", to=TensorProto.INT64)
    return _unless(graph, refused, labels, REFUSED_LABEL, TensorProto.INT64)


def _unless(graph: Graph, refused: str | None, values: str, instead: float, kind: int) -> str:
    """Return the values, with `instead` in refused rows."""
    if refused is None:
        return values
    other = graph.constant("instead", instead, helper.tensor_dtype_to_np_dtype(kind))
    return graph.add("Where", refused, other, values, named="unless refused")
