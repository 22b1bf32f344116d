"""Encoding inside the graph: raw columns -> the matrix that the network takes, as in `worker.data.encoders`."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from onnx import TensorProto

from worker.data.cells import missing_numbers, spellings
from worker.data.encoders import CategoricalCode, Encoders, NumericCode
from worker.data.encoding import Categories
from worker.networks.onnx.graph import ML, Graph


def add_columns(graph: Graph, encoders: Encoders) -> None:
    """Add an input for each feature. Call it first: columns keep their names, and other nodes avoid these."""
    for code in encoders.features:
        kind = TensorProto.DOUBLE if isinstance(code, NumericCode) else TensorProto.STRING
        graph.column(code.name, kind)


def add_encoding(graph: Graph, encoders: Encoders, *, spelled: bool) -> tuple[str, str | None]:
    """Return the name of the matrix, (rows, width), and of the condition for refused rows, (rows, 1).

    Predicting refuses rows with a category that training never saw. The condition is None if no column refuses any.
    """
    blocks: list[str] = []
    refused: list[str] = []
    for _, run in groupby(encoders.features, key=lambda code: code.type):
        codes = list(run)
        if numeric := [code for code in codes if isinstance(code, NumericCode)]:
            blocks.append(_numbers(graph, numeric, encoders.missing))
        for code in codes:
            if isinstance(code, CategoricalCode):
                number = _category(graph, code, encoders.missing, spelled=spelled)
                blocks.append(_block(graph, code, number))
                refused += _refused(graph, code, number)
    return _joined(graph, blocks, "x"), _any(graph, refused)


def _joined(graph: Graph, blocks: Sequence[str], named: str) -> str:
    return blocks[0] if len(blocks) == 1 else graph.add("Concat", *blocks, named=named, axis=1)


def _any(graph: Graph, conditions: Sequence[str]) -> str | None:
    if not conditions:
        return None
    found, *others = conditions
    for other in others:
        found = graph.add("Or", found, other, named="refused")
    return found


def _numbers(graph: Graph, codes: Sequence[NumericCode], texts: Sequence[str]) -> str:
    """Return the numeric columns side by side: NaN becomes the median, then (value - mean) / scale.

    The columns are float64, as in training, even if the network is float32: 20261124 and 20261125 are the same float32.
    """
    values = _joined(graph, [code.name for code in codes], "numbers")
    row: dict[str, Any] = {
        name: graph.constant(f"{name}s", [[getattr(code, name) for code in codes]], np.float64)
        for name in ("median", "mean", "scale")
    }
    missing = graph.add("IsNaN", values, named="missing")
    for n, number in enumerate(missing_numbers(texts)):
        mark = graph.constant(f"missing/{n}/number", [number], np.float64)
        is_mark = graph.add("Equal", values, mark, named=f"missing/{n}")
        missing = graph.add("Or", missing, is_mark, named=f"missing/{n}/or")
    present = graph.add("Where", missing, row["median"], values, named="present")
    centred = graph.add("Sub", present, row["mean"], named="centred")
    standardised = graph.add("Div", centred, row["scale"], named="standardised")
    return graph.add("Cast", standardised, named="x", to=graph.type)


def _category(graph: Graph, code: CategoricalCode, texts: Sequence[str], *, spelled: bool) -> str:
    """Return the category's number, int64 (rows, 1). The number after the last is for categories never seen."""
    numbers = {category: n for n, category in enumerate(code.categories)}
    if spelled:
        for n, category in enumerate(code.categories):
            for spelling in spellings(category):
                numbers.setdefault(spelling, n)
    missing = Categories(code).missing
    if missing < code.category_count:
        for spelling in [spelling for text in texts for spelling in spellings(text)] if spelled else [""]:
            numbers.setdefault(spelling, missing)
    return graph.add(
        "LabelEncoder",
        code.name,
        named=f"{code.name}/number",
        domain=ML,
        keys_strings=list(numbers),
        values_int64s=list(numbers.values()),
        default_int64=code.category_count,
    )


def _refused(graph: Graph, code: CategoricalCode, number: str) -> list[str]:
    """Return the condition for refusing the row; an empty list if this column pools unknown categories."""
    if code.unknown == "pool":
        return []
    unknown = graph.constant(f"{code.name}/unknown", code.category_count, np.int64)
    return [graph.add("Equal", number, unknown, named=f"{code.name}/refused")]


def _block(graph: Graph, code: CategoricalCode, number: str) -> str:
    """Return the column's part of the matrix: its number if an embedding takes it; else an indicator per category."""
    if not code.embedded:
        every = graph.constant(f"{code.name}/categories", [[*range(code.category_count)]], np.int64)
        number = graph.add("Equal", number, every, named=f"{code.name}/indicators")
    return graph.add("Cast", number, named=f"{code.name}/x", to=graph.type)
