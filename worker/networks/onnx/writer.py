"""An ONNX file of a trained network: raw columns in, predictions in the user's own terms out.

Operator set 17 runs in every ONNX Runtime since 1.12 (2022), and has all that a network here is made of.
"""

from onnx import ModelProto, helper

from worker.networks.onnx.columns import add_encoding
from worker.networks.onnx.graph import ML, Graph
from worker.networks.onnx.layers import add_layers
from worker.networks.onnx.outputs import add_outputs
from worker.networks.trained import Trained
from worker.runtime import version

OPSET, ML_OPSET, IR_VERSION = 17, 3, 8

EXPLAINED = """\
One input a column, (rows, 1): a double, NaN where it is missing, or a string, "" where it is missing. Imputation, \
scaling and encoding are in the graph. A row with a category that training never saw gives NaN, unless the column \
was declared to pool such."""


def to_onnx(trained: Trained) -> bytes:
    """The same bytes for the same weights and the same version of gradmill."""
    content: bytes = _model(trained).SerializeToString(deterministic=True)
    return content


def _model(trained: Trained) -> ModelProto:
    parameters, network = trained.parameters, trained.network
    graph = Graph(parameters.flat.dtype)
    x, refused = add_encoding(graph, trained.encoders)
    a = add_layers(graph, trained.layers, network, parameters, x)
    stacked = parameters.members is not None
    add_outputs(graph, trained.encoders.target, a, units=network.outputs, stacked=stacked, refused=refused)
    model: ModelProto = helper.make_model(
        helper.make_graph(graph.nodes, "gradmill", graph.inputs, graph.outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)],
        ir_version=IR_VERSION,
        producer_name="gradmill",
        producer_version=version(),
        doc_string=EXPLAINED,
    )
    known = {"weights_id": trained.weights_id, "epoch": str(trained.epoch)}
    if trained.job_id is not None:
        known["job_id"] = trained.job_id
    helper.set_model_props(model, known)
    return model
