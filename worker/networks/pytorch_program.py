"""The text of the PyTorch program without its layers, and the text of the modules that PyTorch lacks."""

PROGRAM = '''\
"""The network of the weights {weights_id}, in PyTorch.

    python this_file.py weights.safetensors rows.json

prints the predictions of a JSON list of rows, each an object of raw values by column name, null where one is missing.
`weights.safetensors` is the export of the same weights with format=safetensors. Needs torch and safetensors.
"""

import json
import math
import re
import sys
import unicodedata
from collections.abc import Collection
from datetime import date

import torch
from safetensors import safe_open
from torch import nn


{classes}def build():
    """Return the network without its weights: one module per layer, numbered as in the file."""
    return nn.Sequential(
        {layers}
    )


NAMES = {
    "w": "weight",
    "b": "bias",
    "scale": "weight",
    "shift": "bias",
    "mean": "running_mean",
    "variance": "running_var",
}


def load(arrays):
    """Return the network with the given arrays, by their names in the file: `layers.0.w` is the first layer's w."""
    network = build().to(next(iter(arrays.values())).dtype)
    with torch.no_grad():
        for name, array in arrays.items():
            path, _, kind = name.removeprefix("layers.").rpartition(".")
            module = network.get_submodule(path)
            # an activation comes after its layer
            module = module[0] if isinstance(module, nn.Sequential) else module
            # PyTorch stores weights as (units, inputs)
            array = array.T if isinstance(module, nn.Linear) and kind == "w" else array
            getattr(module, NAMES[kind]).copy_(array)
    return network.eval()


def read(path):
    """Return the networks in a file, one or the members of an ensemble, and the encoders of its columns."""
    with safe_open(path, "pt") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}
        encoders = json.loads(file.metadata()["encoders"])
    members = {}
    for name, array in arrays.items():
        number, own = name.removeprefix("members.").split(".", 1) if name.startswith("members.") else ("0", name)
        members.setdefault(int(number), {})[own] = array
    return [load(members[number]) for number in sorted(members)], encoders


{reading}


def encode(rows, encoders):
    """Encode rows of raw values as (rows, inputs), as in training: imputed, scaled, one indicator per category."""
    rows = [{column_name(name): cell for name, cell in row.items()} for row in rows]
    blocks = []
    # files of before have only the usual texts
    missing = encoders.get("missing", MISSING)
    marks = missing_numbers(missing)
    for code in encoders["features"]:
        cells = [row[code["name"]] for row in rows]
        if code["type"] == "numeric":
            form = code.get("form")
            pattern = None if form is None else pattern_of(form)
            numbers = [read_number(cell, missing, pattern) for cell in cells]
            # a number that means a missing cell is no moment
            own = [] if form is not None and "order" in form else marks
            is_missing = [number is None or number in own for number in numbers]
            filled = [code["median"] if gap else number for gap, number in zip(is_missing, numbers)]
            blocks.append(encode_numbers(torch.tensor(filled, dtype=torch.float64), torch.tensor(is_missing), code))
            continue
        count = len(code["categories"]) + code["missing"] + bool(code.get("rare"))
        numbers = torch.tensor([category(cell, code, count, missing) for cell in cells])[:, None]
        blocks.append(numbers if code["embedded"] else (numbers == torch.arange(count)))
    return torch.cat([block.double() for block in blocks], dim=1)


def pattern_of(form):
    """Return the pattern of the numbers, or of the times, of a column."""
    if "order" in form:
        return time_pattern(form["order"], form["mark"])
    return form_pattern(form["decimal"], form["thousands"], form["sign"])


def encode_numbers(values, is_missing, code):
    """Return the inputs of one column of numbers: itself scaled, its bins, and whether its cell is missing."""
    taken = torch.copysign(torch.log1p(values.abs()), values) if code.get("log") else values
    scaled = (taken - code["mean"]) / code["scale"]
    if code.get("quantiles"):
        steps = torch.tensor(code["shares"], dtype=torch.float64).diff()
        scaled = code["shares"][0] + ramps(taken, code["quantiles"]) @ steps
    if code.get("smooth_clip"):
        scaled = scaled / torch.hypot(torch.ones_like(scaled), scaled / 3)
    parts = [scaled[:, None], ramps(values, code.get("bins", []))]
    for period in code.get("cycles", []):
        angles = values[:, None] * (2 * math.pi / period)
        parts += [angles.sin(), angles.cos()]
    if code.get("indicator"):
        parts.append(is_missing[:, None].double())
    return torch.cat(parts, dim=1)


def ramps(values, edges):
    """Return, for each pair of neighbouring edges, 0 below it, 1 above it, and the share between: (rows, pairs)."""
    edges = torch.tensor(edges, dtype=torch.float64)
    return ((values[:, None] - edges[:-1]) / edges.diff()).clip(0, 1)


def category(cell, code, count, missing):
    """Return the category's number, or `count` for one that training never saw."""
    rare = code.get("rare", [])
    names = code["categories"] + rare
    text = cell if cell in names else category_text(cell, missing)
    if text is None:
        if code["missing"]:
            return len(code["categories"])
        text = code["most_frequent"]
    for known in (names, [category_text(name, ()) for name in names]):
        if text in known:
            # rare ones share the last number
            number = known.index(text)
            return number if number < len(code["categories"]) else count - 1
    if code["unknown"] == "refuse":
        raise ValueError(f"{code['name']}: {cell!r} is a category that training never saw")
    return count


@torch.no_grad()
def predict(networks, encoders, rows):
    """Return predictions, probabilities for a category or labels, and the spread for an ensemble."""
    target = encoders["target"]
    x = encode(rows, encoders).to(next(networks[0].parameters()).dtype)
    a = torch.stack([network(x) for network in networks])
    if target["type"] == "number":
        a = a.double() * torch.tensor(target["scales"], dtype=torch.float64)
        a += torch.tensor(target["means"], dtype=torch.float64)
    elif target["type"] == "class" and a.shape[-1] == 1:
        a = torch.cat([1 - a, a], dim=-1)
    mean = a.mean(dim=0)
    if target["type"] == "number":
        found = {"predictions": mean.tolist()}
    elif target["type"] == "labels":
        found = {"predictions": (mean > 0.5).long().tolist(), "probabilities": mean.tolist()}
    else:
        classes = [target["classes"][n] for n in mean.argmax(dim=1)]
        found = {"predictions": classes, "probabilities": mean.tolist()}
    if len(networks) > 1:
        found["spread"] = a.std(dim=0, correction=0).tolist()
    return found


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as file:
        print(json.dumps(predict(*read(sys.argv[1]), json.load(file))))
'''

CLASSES = {
    "Embedded": '''\
class Embedded(nn.Embedding):
    """Replaces the input that is a category's number by the category's vector, placed after the other inputs."""

    def __init__(self, position, categories, dimensions):
        super().__init__(categories, dimensions)
        self.position = position

    def forward(self, x):
        others = [n for n in range(x.shape[1]) if n != self.position]
        return torch.cat([x[:, others], super().forward(x[:, self.position].long())], dim=1)
''',
    "Residual": '''\
class Residual(nn.Module):
    """a = x + layers(x)."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)
''',
    "Exponential": '''\
class Exponential(nn.Module):
    """e^x."""

    def forward(self, x):
        return x.exp()
''',
}
