"""An ONNX graph under construction: nodes, constants, and names that never meet a column's."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

ML = "ai.onnx.ml"
"The domain of operators on text."
ROWS = "rows"
"The name of the first dimension of every input and output."


class Graph:
    """dtype: of the network, float32 or float64; its numbers stand in the graph as they stand in the weights.

    Every method that adds gives the name of what it added. Columns keep their own names, whatever they are; where a
    name of ours is taken already it gets a number behind it.
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
        """An input of one column, (rows, 1)."""
        self._taken.add(name)
        self.inputs.append(helper.make_tensor_value_info(name, kind, [ROWS, 1]))
        return name

    def constant(self, name: str, array: ArrayLike, dtype: Any = None) -> str:
        """In the network's own precision unless told."""
        name = self._fresh(name)
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype or self.dtype), name))
        return name

    def number(self, value: float) -> str:
        """A number without axes, in the network's precision; one constant, however often it is asked for."""
        if value not in self._numbers:
            self._numbers[value] = self.constant(f"number {value:g}", value)
        return self._numbers[value]

    def texts(self, name: str, values: Iterable[str]) -> str:
        """A vector of text."""
        return self.constant(name, list(values), object)

    def add(self, operator: str, *inputs: str, named: str, domain: str = "", **attributes: Any) -> str:
        """A node of one output, which bears the node's name."""
        name = self._fresh(named)
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def output(self, name: str, value: str, kind: int, columns: int | None) -> None:
        """Give a value out under this name: (rows, columns), or (rows,) for None."""
        shape: list[str | int | None] = [ROWS] if columns is None else [ROWS, columns]
        self.outputs.append(helper.make_tensor_value_info(self.add("Identity", value, named=name), kind, shape))

    def _fresh(self, name: str) -> str:
        candidate = name
        while candidate in self._taken:
            self._repeats[name] += 1
            candidate = f"{name}_{self._repeats[name]}"
        self._taken.add(candidate)
        return candidate
