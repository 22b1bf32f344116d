"""An ONNX file -> a trained network. The file is one of ours, which its metadata says, or another library's."""

from math import prod

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto

from worker.backprop.array_names import name_in_layer, name_in_member
from worker.backprop.arrays import Floats
from worker.backprop.network import Network
from worker.data.encoders import Encoders
from worker.errors import SpecError, WeightsFileError
from worker.networks.dense_chain import from_chain
from worker.networks.file_checks import MEMBERS_LIMIT, check_architecture, checked
from worker.networks.metadata import is_ours, read_metadata
from worker.networks.onnx.columns import add_columns
from worker.networks.onnx.counting import check_parts
from worker.networks.onnx.foreign import Chain, read_floats
from worker.networks.onnx.graph import Graph
from worker.networks.onnx.writer import build_model
from worker.networks.trained import Trained
from worker.settings import Limits
from worker.specs.imports import Description


def from_onnx(content: bytes, description: Description | None, limits: Limits) -> Trained:
    """Return the file's network. Raises WeightsFileError, and SpecError for a description that does not fit."""
    check_parts(content)
    try:
        model = onnx.load_from_string(content)
    except DecodeError as error:
        raise WeightsFileError("is not an ONNX file") from error
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if is_ours(metadata, description):
        return _from_ours(model, metadata, limits)
    description = description or Description()
    if description.activations is not None:
        raise SpecError("/activations", "must be left out: an ONNX file has its own")
    with np.errstate(all="ignore"):
        # numbers that are not finite are refused at the end
        return from_chain(Chain(model.graph, limits.parameters).found, description, limits)


def _from_ours(model: ModelProto, metadata: dict[str, str], limits: Limits) -> Trained:
    """Read the network from the metadata and the constants. Its graph must be the one that we would write for it."""
    layers, encoders = read_metadata(metadata)
    network = check_architecture(layers, encoders, limits)
    trained = checked(layers, encoders, _arrays(model, network, encoders), limits)
    # files of before know a category by one spelling only
    for written in (build_model(trained), build_model(trained, spelled=False)):
        same_operators = list(model.opset_import) == list(written.opset_import) and not model.functions
        if model.graph == written.graph and same_operators:
            return trained
    raise WeightsFileError("its graph was changed after it was exported, or another version of gradmill wrote it")


def _arrays(model: ModelProto, network: Network, encoders: Encoders) -> dict[str, Floats]:
    """Return the arrays by their names in a weights file, separately for each member of an ensemble."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    # a constant has the name of its array, unless a column has that name
    names = Graph(np.dtype(np.float32))
    add_columns(names, encoders)
    shapes = {
        name_in_layer(n, name): shape for n, layer in enumerate(network.layers) for name, shape in layer.shapes.items()
    }
    stored = {}
    for name in shapes:
        tensor = constants.get(names.free_name(name))
        if tensor is None:
            raise WeightsFileError(f"its constant {name} is missing")
        stored[name] = read_floats(tensor)
    output = stored[name_in_layer(len(network.layers) - 1, "w")]
    if output.ndim != 3:
        return {name: _shaped(name, array, shapes[name]) for name, array in stored.items()}
    members = len(output)
    if not 1 <= members <= MEMBERS_LIMIT:
        raise WeightsFileError(f"an ensemble has at most {MEMBERS_LIMIT} members")
    stacks = {name: _shaped(name, array, (members, *shapes[name])) for name, array in stored.items()}
    return {name_in_member(n, name): stack[n] for n in range(members) for name, stack in stacks.items()}


def _shaped(name: str, array: Floats, shape: tuple[int, ...]) -> Floats:
    """Return the array in this shape: constants have axes of length 1 that the arrays lack."""
    if array.size != prod(shape):
        raise WeightsFileError(f"{name[:64]} must have {prod(shape)} numbers, got {array.size}")
    return array.reshape(shape)
