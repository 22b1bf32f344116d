"""The schemas of requests that export a trained network."""

from typing import Annotated, Literal

from pydantic import Field

from service.schemas.common import Query
from service.schemas.jobs import WeightsQuery

Format = Literal["safetensors", "onnx", "pytorch"]
FORMAT = Field(
    description="safetensors: the weights, network and encoders in the metadata. onnx: raw columns in, predictions "
    "out. pytorch: a program that rebuilds the network from the safetensors file."
)


class ExportQuery(Query):
    format: Annotated[Format, FORMAT]


class JobExportQuery(WeightsQuery):
    format: Annotated[Format, FORMAT]
