"""Requests and answers of the Open Inference Protocol. Source: kserve/open-inference-protocol, inference_rest.md."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.config import JsonDict

from service.schemas.common import Shown
from worker.specs.base import AtMost, Boolean, Integer, Strict

Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BYTES",
]
Length = Annotated[Integer, Field(ge=0, lt=2**63)]
String = Annotated[str, Field(max_length=1000)]


class Parameters(BaseModel):
    """The parameters of a document. Those that we do not know are for other servers, and are ignored."""


class InputParameters(Parameters):
    binary_data_size: Length | None = None
    shared_memory_region: None = None


SIZE = "binary_data_size"
NOT_RAW: JsonDict = {"properties": {SIZE: {"type": "null"}}}
RAW: JsonDict = {"type": "object", "properties": {SIZE: {"type": "integer"}}, "required": [SIZE]}
"The parameters of an input whose data are in the JSON, and of one whose data are raw bytes after it."


class InferInput(Strict):
    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"properties": {"data": {"not": {"type": "null"}}, "parameters": NOT_RAW}, "required": ["data"]},
                {"properties": {"data": {"type": "null"}, "parameters": RAW}, "required": ["parameters"]},
            ]
        }
    )

    name: String
    shape: Annotated[list[Length], AtMost(8)]
    datatype: Datatype
    parameters: InputParameters | None = None
    data: Any = None
    "Flat or nested, row by row; null is a missing cell. If absent: parameters.binary_data_size bytes after the JSON."


class OutputParameters(Parameters):
    binary_data: Boolean | None = None
    classification: Annotated[Integer, Field(ge=1, lt=2**31)] | None = None
    shared_memory_region: None = None


class InferOutput(Strict):
    name: String
    parameters: OutputParameters | None = None


class InferParameters(Parameters):
    binary_data_output: Boolean | None = None


class InferRequest(Strict):
    id: String | None = None
    parameters: InferParameters | None = None
    inputs: Annotated[list[InferInput], AtMost(10_000)]
    outputs: Annotated[list[InferOutput], AtMost(10_000)] | None = None
    "The outputs to return; all if none are named."


class IndexRequest(Strict):
    ready: Boolean | None = None
    "List only models that are ready; all of ours are."


class Refused(Shown):
    error: str


class Live(Shown):
    live: Literal[True]


class Ready(Shown):
    ready: Literal[True]


class ModelReady(Ready):
    name: str


class Server(Shown):
    name: str
    version: str
    extensions: list[str]


class TensorShown(Shown):
    name: str
    datatype: Datatype
    shape: list[int]
    "-1: any length."


class ModelShown(Shown):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorShown]
    outputs: list[TensorShown]


class Indexed(Shown):
    name: str
    version: str
    state: Literal["READY"]
    reason: str


class Index(RootModel[list[Indexed]]):
    """A bare list."""


class InferredOutput(TensorShown):
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class Inferred(Shown):
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferredOutput]


class Duration(Shown):
    count: int
    ns: int


class InferenceStatistics(Shown):
    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(Shown):
    name: str
    version: str
    last_inference: int
    "Milliseconds since 1970."
    inference_count: int
    "Rows."
    execution_count: int
    "Requests."
    inference_stats: InferenceStatistics
    batch_stats: list[Any]


class StatisticsShown(Shown):
    model_stats: list[ModelStatistics]
