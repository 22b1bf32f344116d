"""Imports of trained networks on the wire."""

from typing import Annotated, Literal

from pydantic import Field

from service.schemas.common import Query


class ImportQuery(Query):
    format: Annotated[
        Literal["safetensors", "onnx"],
        Field(
            description="safetensors: an export of ours, or a PyTorch state_dict of linear layers, which needs the "
            "part description. onnx: a chain of Gemm, or MatMul and Add, with activations between."
        ),
    ]
