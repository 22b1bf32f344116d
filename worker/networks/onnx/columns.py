"""Encoding inside the graph: raw columns -> the matrix that the network takes, as in `worker.data.encoders`."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from onnx import TensorProto

from worker.data.cells import spellings
from worker.data.encoders import CategoricalCode, Encoders, NumericCode
from worker.data.encoding import Categories
from worker.networks.onnx.graph import ML, Graph
from worker.networks.onnx.numbers import add_number, add_plain_numbers, is_plain


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
    for _, run in groupby(encoders.features, key=lambda code: isinstance(code, NumericCode) and is_plain(code)):
        codes = list(run)
        if plain := [code for code in codes if isinstance(code, NumericCode) and is_plain(code)]:
            blocks.append(add_plain_numbers(graph, plain, encoders.missing))
            continue
        for code in codes:
            if isinstance(code, NumericCode):
                blocks += add_number(graph, code, encoders.missing)
            else:
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


def _category(graph: Graph, code: CategoricalCode, texts: Sequence[str], *, spelled: bool) -> str:
    """Return the category's number, int64 (rows, 1). The number after the last is for categories never seen."""
    numbers = code.numbers
    if spelled:
        for category, n in code.numbers.items():
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
