"""Numbers inside the graph: raw columns -> their inputs of the network, in float64, as in `worker.data.scaling`.

20261124 and 20261125 are the same float32.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from worker.data.cells import missing_numbers
from worker.data.encoders import NumericCode
from worker.data.times import TimeForm
from worker.networks.onnx.graph import Graph

LARGE = 1e100
"Past it a square is infinite."


def is_plain(code: NumericCode) -> bool:
    """Return whether the column becomes (value - mean) / scale and nothing else."""
    return code.width == 1 and not (code.log or code.smooth_clip or code.quantiles or isinstance(code.form, TimeForm))


def add_plain_numbers(graph: Graph, codes: Sequence[NumericCode], texts: Sequence[str]) -> str:
    """Return plain columns side by side: NaN becomes the median, then (value - mean) / scale.

    texts: those that mean a missing cell.
    """
    names = [code.name for code in codes]
    values = names[0] if len(names) == 1 else graph.add("Concat", *names, named="numbers", axis=1)
    row: dict[str, Any] = {
        name: graph.constant(f"{name}s", [[getattr(code, name) for code in codes]], np.float64)
        for name in ("median", "mean", "scale")
    }
    present = graph.add("Where", _missing(graph, values, texts), row["median"], values, named="present")
    centred = graph.add("Sub", present, row["mean"], named="centred")
    return _cast(graph, graph.add("Div", centred, row["scale"], named="standardised"), "x")


def add_number(graph: Graph, code: NumericCode, texts: Sequence[str]) -> list[str]:
    """Return the blocks of one column, each (rows, inputs): itself, its bins, and whether its cell is missing."""
    name = code.name
    missing = _missing(graph, name, () if isinstance(code.form, TimeForm) else texts)
    median = _number(graph, f"{name}/median", code.median)
    present = graph.add("Where", missing, median, name, named=f"{name}/present")
    blocks = [_cast(graph, _scaled(graph, code, present), f"{name}/x")]
    if len(code.bins) > 1:
        blocks.append(_cast(graph, _ramps(graph, present, code.bins, f"{name}/bins"), f"{name}/bins/x"))
    if code.cycles:
        blocks.append(_cast(graph, _turns(graph, code, present), f"{name}/cycles/x"))
    if code.indicator:
        blocks.append(_cast(graph, missing, f"{name}/missing/x"))
    return blocks


def _scaled(graph: Graph, code: NumericCode, value: str) -> str:
    name = code.name
    if code.log:
        above = graph.add("Add", graph.add("Abs", value, named=name), _number(graph, "one", 1), named=f"{name}/above")
        sign = graph.add("Sign", value, named=f"{name}/sign")
        value = graph.add("Mul", sign, graph.add("Log", above, named=f"{name}/size"), named=f"{name}/log")
    if code.quantiles:
        value = _share(graph, code, value)
    else:
        value = graph.add("Sub", value, _number(graph, f"{name}/mean", code.mean), named=f"{name}/centred")
        value = graph.add("Div", value, _number(graph, f"{name}/scale", code.scale), named=f"{name}/scaled")
    if code.smooth_clip:
        bounds = _number(graph, "lowest", -LARGE), _number(graph, "largest", LARGE)
        value = graph.add("Clip", value, *bounds, named=f"{name}/bounded")
        third = graph.add("Div", value, _number(graph, "three", 3), named=f"{name}/third")
        square = graph.add("Mul", third, third, named=f"{name}/square")
        root = graph.add("Sqrt", graph.add("Add", square, _number(graph, "one", 1), named=f"{name}/sum"), named="root")
        value = graph.add("Div", value, root, named=f"{name}/clipped")
    return value


def _share(graph: Graph, code: NumericCode, value: str) -> str:
    """Return the interpolated share: the first, and what each ramp between two quantiles adds."""
    first = _number(graph, f"{code.name}/share", code.shares[0])
    if len(code.quantiles) == 1:
        nothing = graph.add("Mul", value, _number(graph, "nothing", 0), named=f"{code.name}/constant")
        return graph.add("Add", nothing, first, named=f"{code.name}/quantile")
    steps = graph.constant(f"{code.name}/shares", np.diff(code.shares)[:, None], np.float64)
    ramps = _ramps(graph, value, code.quantiles, f"{code.name}/quantiles")
    added = graph.add("MatMul", ramps, steps, named=f"{code.name}/added")
    return graph.add("Add", added, first, named=f"{code.name}/quantile")


def _ramps(graph: Graph, value: str, edges: Sequence[float], named: str) -> str:
    """Return, for each pair of neighbouring edges, 0 below it, 1 above it, and the share between: (rows, pairs)."""
    lower = graph.constant(f"{named}/lower", [[a for a, _ in pairwise(edges)]], np.float64)
    spans = graph.constant(f"{named}/spans", [[b - a for a, b in pairwise(edges)]], np.float64)
    above = graph.add("Sub", value, lower, named=f"{named}/above")
    shares = graph.add("Div", above, spans, named=f"{named}/shares")
    return graph.add("Clip", shares, _number(graph, "zero", 0), _number(graph, "one", 1), named=named)


def _turns(graph: Graph, code: NumericCode, value: str) -> str:
    """Return the sine and the cosine of each cycle: (rows, 2 x cycles). ONNX knows sines of float64 only in part."""
    turns = graph.constant(
        f"{code.name}/turns", [[2 * np.pi / period for period in code.cycles for _ in "sc"]], np.float64
    )
    # a cosine is the sine of a quarter of a turn more
    quarters = graph.constant(f"{code.name}/quarters", [[0, np.pi / 2] * len(code.cycles)], np.float64)
    angles = graph.add("Mul", value, turns, named=f"{code.name}/angles")
    shifted = graph.add("Add", angles, quarters, named=f"{code.name}/shifted")
    return graph.add("Sin", shifted, named=f"{code.name}/cycles")


def _missing(graph: Graph, values: str, texts: Sequence[str]) -> str:
    """Return whether each of some numbers, (rows, columns), is missing."""
    missing = graph.add("IsNaN", values, named="missing")
    for number in missing_numbers(texts):
        is_mark = graph.add("Equal", values, _number(graph, "mark", number), named="marked")
        missing = graph.add("Or", missing, is_mark, named="missing")
    return missing


def _number(graph: Graph, named: str, value: float) -> str:
    return graph.constant(named, value, np.float64)


def _cast(graph: Graph, value: str, named: str) -> str:
    return graph.add("Cast", value, named=named, to=graph.type)
