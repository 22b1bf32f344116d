"""The activations a = f(z) as ONNX nodes, each with the same formula as in `worker.backprop.activations`.

Most are built from simpler operators: ONNX Runtime has Elu, Selu, Softplus and HardSigmoid in float32 only, the slope
of LeakyRelu is stored in float32, and Gelu came with operator set 20, which older runtimes lack.
"""

from collections.abc import Callable, Mapping

from worker.backprop.activations import Elu, Gelu, LeakyRelu, Selu
from worker.networks.onnx.graph import Graph
from worker.specs.network import ResolvedActivation


def add_activation(graph: Graph, activation: ResolvedActivation, z: str, named: str) -> str:
    """Add the activation, and return the name of a = f(z). z: the name of z. named: the name to give to a."""
    return ACTIVATIONS[activation](graph, z, named)


def _identity(_graph: Graph, z: str, _named: str) -> str:
    return z


def _relu(graph: Graph, z: str, named: str) -> str:
    return graph.add("Relu", z, named=named)


def _tanh(graph: Graph, z: str, named: str) -> str:
    return graph.add("Tanh", z, named=named)


def _sigmoid(graph: Graph, z: str, named: str) -> str:
    return graph.add("Sigmoid", z, named=named)


def _exponential(graph: Graph, z: str, named: str) -> str:
    return graph.add("Exp", z, named=named)


def _softmax(graph: Graph, z: str, named: str) -> str:
    return graph.add("Softmax", z, named=named, axis=-1)


def _leaky_relu(graph: Graph, z: str, named: str) -> str:
    """max(z, slope z)."""
    return graph.add("Max", z, graph.add("Mul", z, graph.number(LeakyRelu.slope), named=f"{named}/slope"), named=named)


def _elu(graph: Graph, z: str, named: str, kind: type[Elu] = Elu) -> str:
    """scale (max(z, 0) + alpha (e^min(z, 0) - 1))."""
    positive = graph.add("Relu", z, named=f"{named}/positive")
    negative = graph.add("Min", z, graph.number(0), named=f"{named}/negative")
    power = graph.add("Exp", negative, named=f"{named}/power")
    less = graph.add("Sub", power, graph.number(1), named=f"{named}/less_one")
    scaled = graph.add("Mul", less, graph.number(kind.alpha), named=f"{named}/alpha")
    both = graph.add("Add", positive, scaled, named=f"{named}/both")
    return graph.add("Mul", both, graph.number(kind.scale), named=named)


def _selu(graph: Graph, z: str, named: str) -> str:
    return _elu(graph, z, named, Selu)


def _gelu(graph: Graph, z: str, named: str) -> str:
    """z (1 + tanh(u)) / 2, u = sqrt(2/pi) (z + 0.044715 z^3)."""
    square = graph.add("Mul", z, z, named=f"{named}/square")
    bent = graph.add("Mul", square, graph.number(Gelu.root * Gelu.cubic), named=f"{named}/bent")
    slope = graph.add("Add", bent, graph.number(Gelu.root), named=f"{named}/slope")
    u = graph.add("Mul", slope, z, named=f"{named}/u")
    t = graph.add("Tanh", u, named=f"{named}/tanh")
    more = graph.add("Add", t, graph.number(1), named=f"{named}/one_more")
    half = graph.add("Mul", more, graph.number(0.5), named=f"{named}/half")
    return graph.add("Mul", half, z, named=named)


def _silu(graph: Graph, z: str, named: str) -> str:
    return graph.add("Mul", z, graph.add("Sigmoid", z, named=f"{named}/sigmoid"), named=named)


def _softplus(graph: Graph, z: str, named: str) -> str:
    """max(z, 0) + log(1 + e^-|z|): the exponential cannot overflow."""
    magnitude = graph.add("Abs", z, named=f"{named}/magnitude")
    power = graph.add("Exp", graph.add("Neg", magnitude, named=f"{named}/minus"), named=f"{named}/power")
    log = graph.add("Log", graph.add("Add", power, graph.number(1), named=f"{named}/more"), named=f"{named}/log")
    return graph.add("Add", graph.add("Relu", z, named=f"{named}/positive"), log, named=named)


def _hard_sigmoid(graph: Graph, z: str, named: str) -> str:
    """z/6 + 1/2, clipped to [0, 1]."""
    sixth = graph.add("Div", z, graph.number(6), named=f"{named}/sixth")
    shifted = graph.add("Add", sixth, graph.number(0.5), named=f"{named}/shifted")
    return graph.add("Clip", shifted, graph.number(0), graph.number(1), named=named)


ACTIVATIONS: Mapping[ResolvedActivation, Callable[[Graph, str, str], str]] = {
    "identity": _identity,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _selu,
    "gelu": _gelu,
    "silu": _silu,
    "softplus": _softplus,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "hard_sigmoid": _hard_sigmoid,
    "softmax": _softmax,
    "exponential": _exponential,
}
