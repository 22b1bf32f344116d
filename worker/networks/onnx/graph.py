"""An ONNX graph under construction: its nodes and constants, whose names never clash with those of columns."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

ML = "ai.onnx.ml"
"The domain of the operators on text."
ROWS = "rows"
"The first dimension of every input and output."


class Graph:
    """Collects the parts of a graph. Every method that adds a part returns its name.

    Columns keep their own names. If another part's name is already taken, a number is appended to it.
    dtype: the dtype of the network, float32 or float64, in which the graph computes.
    """

    def __init__(self, dtype: "np.dtype[Any]") -> None:
        self.dtype = dtype
        self.type: int = helper.np_dtype_to_tensor_dtype(dtype)
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []
        self._taken: set[str] = set()
        self._repeats: Counter[str] = Counter()
        self._numbers: dict[float, str] = {}

    def column(self, name: str, kind: int) -> str:
        """Add an input of one column, (rows, 1)."""
        self._taken.add(name)
        self.inputs.append(helper.make_tensor_value_info(name, kind, [ROWS, 1]))
        return name

    def constant(self, name: str, array: ArrayLike, dtype: Any = None) -> str:
        """Add a constant, in the network's own precision by default."""
        name = self.free_name(name)
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype or self.dtype), name))
        return name

    def number(self, value: float) -> str:
        """Add a number without axes, in the network's precision. Equal numbers share one constant."""
        if value not in self._numbers:
            self._numbers[value] = self.constant(f"number {value:g}", value)
        return self._numbers[value]

    def texts(self, name: str, values: Iterable[str]) -> str:
        """Add a vector of texts."""
        return self.constant(name, list(values), object)

    def add(self, operator: str, *inputs: str, named: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output, which has the node's name."""
        name = self.free_name(named)
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def output(self, name: str, value: str, kind: int, columns: int | None) -> None:
        """Add an output of the graph with this name, (rows, columns), or (rows,) if columns is None."""
        shape: list[str | int | None] = [ROWS] if columns is None else [ROWS, columns]
        self.outputs.append(helper.make_tensor_value_info(self.add("Identity", value, named=name), kind, shape))

    def free_name(self, name: str) -> str:
        """Reserve and return this name or, if it is taken, the first of name_1, name_2, ... that is free."""
        candidate = name
        while candidate in self._taken:
            self._repeats[name] += 1
            candidate = f"{name}_{self._repeats[name]}"
        self._taken.add(candidate)
        return candidate
