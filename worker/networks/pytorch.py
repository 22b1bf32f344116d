"""A short PyTorch program that rebuilds the network from its safetensors file, and predicts as we do.

Only numbers of the network stand in it: names of columns and classes are read from the file, so that no client's text
becomes code.
"""

from collections.abc import Sequence
from textwrap import indent
from typing import Any

from worker.backprop.layers.layer import Layer
from worker.backprop.layers.residual import Residual
from worker.networks.pytorch_program import CLASSES, PROGRAM
from worker.networks.trained import Trained
from worker.specs import network as specs

ACTIVATIONS = {
    "relu": "nn.ReLU()",
    "leaky_relu": "nn.LeakyReLU(0.01)",
    "elu": "nn.ELU()",
    "selu": "nn.SELU()",
    "gelu": 'nn.GELU(approximate="tanh")',
    "silu": "nn.SiLU()",
    "softplus": "nn.Softplus()",
    "tanh": "nn.Tanh()",
    "sigmoid": "nn.Sigmoid()",
    "hard_sigmoid": "nn.Hardsigmoid()",
    "exponential": "Exponential()",
    "softmax": "nn.Softmax(dim=-1)",
}
"Identity is none of them."


def to_pytorch(trained: Trained) -> str:
    """The program's text."""
    layers = indent(_lines(trained.layers, trained.network.layers), " " * 8)
    classes = "".join(f"{text}\n\n" for name, text in CLASSES.items() if f"{name}(" in layers)
    parts = {"{weights_id}": trained.weights_id, "{classes}": classes, "        {layers}\n": layers}
    program = PROGRAM
    for place, text in parts.items():
        program = program.replace(place, text)
    return program


def _lines(specifications: Sequence[Any], layers: Sequence[Layer]) -> str:
    """A line a layer, or several of a residual block."""
    return "".join(f"{_layer(spec, layer)},\n" for spec, layer in zip(specifications, layers, strict=True))


def _layer(spec: Any, layer: Layer) -> str:
    match spec:
        case specs.DropoutLayer():
            return f"nn.Dropout({spec.rate!r})"
        case specs.ResolvedEmbedding():
            return f"Embedded({spec.position}, {spec.categories + 1}, {spec.dimensions})"
        case specs.ResidualLayer():
            assert isinstance(layer, Residual)  # noqa: S101 - built of the specification
            return f"Residual(\n{indent(_lines(spec.layers, layer.layers), ' ' * 4)})"
        case specs.BatchNormLayer():
            module = f"nn.BatchNorm1d({layer.units}, eps={spec.epsilon!r}, momentum={spec.momentum!r})"
        case specs.LayerNormLayer():
            module = f"nn.LayerNorm({layer.units}, eps={spec.epsilon!r})"
        case _:
            module = f"nn.Linear({layer.inputs}, {layer.units})"
    if spec.activation == "identity":
        return module
    return f"nn.Sequential({module}, {ACTIVATIONS[spec.activation]})"
