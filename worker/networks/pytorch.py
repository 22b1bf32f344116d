"""A trained network -> a short PyTorch program that rebuilds it from its safetensors file, and predicts as we do.

The program has only the network's numbers in it. It reads the names of columns and classes from the file, so that no
client's text becomes code.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import getsource
from textwrap import indent
from typing import Any, assert_never

from worker.data import cells, seconds, times
from worker.data.number_forms import form_pattern
from worker.data.times import time_pattern
from worker.networks.layers import units_after
from worker.networks.pytorch_program import CLASSES, PROGRAM
from worker.networks.trained import Origin
from worker.specs import network as specs
from worker.specs.base import column_name

ACTIVATIONS: Mapping[specs.ResolvedActivation, str | None] = {
    "identity": None,
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


def to_pytorch(origin: Origin) -> str:
    """Return the program's text."""
    known = origin.architecture
    layers = indent(_lines(known.layers, known.encoders.width), " " * 8)
    classes = "".join(f"{text}\n\n" for name, text in CLASSES.items() if f"{name}(" in layers)
    parts = {"{weights_id}": origin.weights_id, "{classes}": classes, "        {layers}\n": layers}
    parts["{reading}"] = _reading()
    program = PROGRAM
    for place, text in parts.items():
        program = program.replace(place, text)
    return program


def _reading() -> str:
    """Return the text of our own functions that read names and cells, with the constants that they use."""
    constants = [f"{name} = {getattr(cells, name)!r}" for name in ("MISSING",)]
    constants += [f"{name} = {getattr(seconds, name)!r}" for name in ("EPOCH", "FIRST", "END")]
    constants += [f"{name} = {getattr(times, name)!r}" for name in ("YEARS", "ONE_OR_TWO", "CLOCK")]
    patterns = [f"{name} = re.compile({getattr(cells, name).pattern!r})" for name in ("WHOLE", "NUMBER")]
    used: list[Callable[..., Any]] = [column_name, cells.category_text, cells.one_spelling, cells.missing_numbers]
    used += [form_pattern, time_pattern, seconds.offset, seconds.seconds_text, cells.plain_number, cells.read_number]
    functions = [getsource(function).rstrip() for function in used]
    return "\n\n\n".join(["\n".join([*constants, *patterns]), *functions])


def _lines(layers: Sequence[specs.ResolvedLayer], inputs: int) -> str:
    """Return one line for each layer, or several for a residual block. inputs: the width of a row."""
    lines = ""
    for layer in layers:
        lines += f"{_module(layer, inputs)},\n"
        inputs = units_after(layer, inputs)
    return lines


def _module(layer: specs.ResolvedLayer, inputs: int) -> str:
    match layer:
        case specs.ResolvedDense():
            module = f"nn.Linear({inputs}, {layer.units})"
        case specs.BatchNormLayer():
            module = f"nn.BatchNorm1d({inputs}, eps={layer.epsilon!r}, momentum={layer.momentum!r})"
        case specs.LayerNormLayer():
            module = f"nn.LayerNorm({inputs}, eps={layer.epsilon!r})"
        case specs.DropoutLayer():
            return f"nn.Dropout({layer.rate!r})"
        case specs.ResolvedEmbedding():
            return f"Embedded({layer.position}, {layer.categories + 1}, {layer.dimensions})"
        case specs.ResolvedResidual():
            return f"Residual(\n{indent(_lines(layer.layers, inputs), ' ' * 4)})"
        case _:
            assert_never(layer)
    activation = ACTIVATIONS[layer.activation]
    return module if activation is None else f"nn.Sequential({module}, {activation})"
