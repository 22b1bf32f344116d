"""The schema of the request that imports a trained network."""

from typing import Annotated, Literal

from pydantic import Field

from service.schemas.common import Query

Format = Literal["safetensors", "onnx"]


class ImportQuery(Query):
    format: Annotated[
        Format,
        Field(
            description="safetensors: an export of ours, or a PyTorch state_dict of linear layers, which needs the "
            "part description. onnx: an export of ours, or a chain of Gemm, or MatMul and Add, with activations "
            "between."
        ),
    ]
