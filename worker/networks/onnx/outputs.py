"""What the graph gives: predictions in the user's own terms, probabilities, and an ensemble's spread."""

import numpy as np
from onnx import TensorProto, helper

from worker.data.encoders import ClassTarget, LabelsTarget, NumberTarget, Target
from worker.networks.onnx.graph import Graph

PREDICTIONS, PROBABILITIES, SPREAD = "predictions", "probabilities", "spread"
NOT_THERE = -1
"A label's prediction where its row has a category that training never saw."


def add_outputs(graph: Graph, target: Target, a: str, *, units: int, stacked: bool, refused: str | None) -> None:
    """predictions: text (rows,), or numbers or labels (rows, targets); the others as `Predictor.outputs` gives them.

    units: of the output layer. stacked: whether a has an ensemble's members as its first axis. refused: the rows,
    (rows, 1), that predict would not answer; a graph can't refuse, so their numbers are NaN and their class is "".
    """
    kind, columns = graph.type, 0
    if isinstance(target, NumberTarget):
        a, kind, columns = _in_units(graph, target, a), TensorProto.DOUBLE, len(target.names)
    elif isinstance(target, ClassTarget):
        a, columns = a if units > 1 else _of_both_classes(graph, a), len(target.classes)
    else:
        columns = len(target.names)
    spread = None
    if stacked:
        a, spread = _mean_and_spread(graph, a)
    values = _unless(graph, refused, a, np.nan, kind)
    if isinstance(target, NumberTarget):
        graph.output(PREDICTIONS, values, kind, columns)
    elif isinstance(target, LabelsTarget):
        graph.output(PREDICTIONS, _labels(graph, a, refused), TensorProto.INT64, columns)
        graph.output(PROBABILITIES, values, kind, columns)
    else:
        graph.output(PREDICTIONS, _class(graph, target, a, refused), TensorProto.STRING, None)
        graph.output(PROBABILITIES, values, kind, columns)
    if spread is not None:
        graph.output(SPREAD, _unless(graph, refused, spread, np.nan, kind), kind, columns)


def _in_units(graph: Graph, target: NumberTarget, a: str) -> str:
    """The network's a is in standard deviations."""
    wide = graph.add("Cast", a, named="output", to=TensorProto.DOUBLE)
    scaled = graph.add("Mul", wide, graph.constant("scales", target.scales, np.float64), named="scaled")
    return graph.add("Add", scaled, graph.constant("means", target.means, np.float64), named="in units")


def _of_both_classes(graph: Graph, a: str) -> str:
    """One output tells two classes apart: it is the probability of the second."""
    first = graph.add("Sub", graph.number(1), a, named="of the first")
    return graph.add("Concat", first, a, named="of both", axis=-1)


def _mean_and_spread(graph: Graph, a: str) -> tuple[str, str]:
    """Over the members, the first axis: the mean and the standard deviation."""
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
    return _unless(graph, refused, labels, NOT_THERE, TensorProto.INT64)


def _unless(graph: Graph, refused: str | None, values: str, instead: float, kind: int) -> str:
    """The values, but for the rows that are refused."""
    if refused is None:
        return values
    other = graph.constant("instead", instead, helper.tensor_dtype_to_np_dtype(kind))
    return graph.add("Where", refused, other, values, named="unless refused")
