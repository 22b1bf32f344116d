"""A trained network -> an ONNX file: raw columns in, predictions in the user's own terms out.

Operator set 17 runs in every ONNX Runtime since 1.12 (2022), and has every operator that the networks here need.
"""

from onnx import ModelProto, helper

from worker.networks.metadata import write_metadata
from worker.networks.onnx.columns import add_columns, add_encoding
from worker.networks.onnx.graph import ML, Graph
from worker.networks.onnx.layers import add_layers
from worker.networks.onnx.outputs import add_outputs
from worker.networks.trained import Published, Trained
from worker.runtime import version

OPSET, ML_OPSET, IR_VERSION = 17, 3, 8

EXPLAINED = """\
One input per column, (rows, 1): a double, NaN if it is missing, or a string, "" if it is missing. Imputation, scaling \
and encoding are in the graph; a time is a double, the seconds since 1970-01-01. A string must be trimmed and in \
Unicode's composed form. A category that training never saw counts as none of the known ones; where its column was \
declared to refuse it, the row gives NaN."""


def to_onnx(published: Published) -> bytes:
    """Return the file's bytes: the same for the same weights and the same version of gradmill."""
    model = build_model(published.trained)
    helper.set_model_props(model, write_metadata(published) | {"weights_id": published.weights_id})
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def build_model(trained: Trained, *, spelled: bool = True) -> ModelProto:
    """Return the file without its metadata.

    spelled: whether it knows the usual spellings of a category and of a missing cell. Files of before do not.
    """
    parameters, encoders = trained.parameters, trained.encoders
    graph = Graph(parameters.flat.dtype)
    add_columns(graph, encoders)
    x, refused = add_encoding(graph, encoders, spelled=spelled)
    a = add_layers(graph, trained.layers, parameters, x, inputs=encoders.width)
    stacked, units = trained.members is not None, trained.network.outputs
    add_outputs(graph, encoders.target, a, units=units, stacked=stacked, refused=refused)
    model: ModelProto = helper.make_model(
        helper.make_graph(graph.nodes, "gradmill", graph.inputs, graph.outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)],
        ir_version=IR_VERSION,
        producer_name="gradmill",
        producer_version=version(),
        doc_string=EXPLAINED,
    )
    return model
