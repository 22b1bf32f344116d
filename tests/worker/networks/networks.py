"""Trained networks of every kind for the tests of exports, and a table with every kind of column."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa

from tests.conftest import spec_of
from worker.backprop.arrays import Floats
from worker.data.encoders import Encoders
from worker.data.fitting import fit_encoders
from worker.data.profiles import profile_table
from worker.data.readers import CSV, read_table
from worker.data.roles import assign_roles
from worker.networks.layers import LAYERS, build_network
from worker.networks.predictor import Predictor
from worker.networks.safetensors import to_safetensors
from worker.networks.trained import Published, Trained
from worker.records.weights import to_bytes
from worker.running.loading import load
from worker.settings import Limits
from worker.specs.job import Job

WEIGHTS_ID, JOB_ID = "wts_" + "0" * 32, "job_" + "0" * 32

MIXED = pa.table(
    {
        "size": [1.0, 2.5, None, -3.0, 0.5, 2.0] * 5,
        "kind": ["a", "b", None, "c", "a", "b"] * 5,
        "day": [20261101.0 + n for n in range(30)],
        "grade": ["low", "high", "top"] * 10,
        "label": ["yes", "no", "yes", "maybe", "no", "no"] * 5,
        "red": [0, 1, 1, 0, 1, 0] * 5,
        "round": [1, 1, 0, 0, 0, 1] * 5,
        "price": [1e4 + 250.0 * (n % 7) for n in range(30)],
        "count": [n % 5 for n in range(30)],
    }
)
FEATURES = ("size", "kind", "day", "grade")

EVERY_LAYER: list[dict[str, Any]] = [
    {"type": "dense", "units": 6, "activation": "identity"},
    {"type": "batch_norm", "activation": "relu"},
    {"type": "dropout", "rate": 0.5},
    {
        "type": "residual",
        "layers": [
            {"type": "dense", "units": 9, "activation": "tanh"},
            {"type": "dropout", "rate": 0.1},
            {"type": "batch_norm"},
            {"type": "dense", "units": 6, "activation": "identity"},
            {"type": "layer_norm", "activation": "silu"},
        ],
    },
    {"type": "layer_norm", "epsilon": 1e-3},
]


def trained(spec: Job, table: pa.Table) -> Trained:
    """Run the job here and now and return its network."""
    loaded = load(spec, table, Limits())
    list(loaded.training.run(lambda: False))
    return Trained(loaded.layers, loaded.encoders, loaded.training.final.named())


def published(of: Trained) -> Published:
    """Return a network as the record would give it for an export."""
    return Published(
        trained=of,
        architecture=of.architecture,
        weights_id=WEIGHTS_ID,
        job_id=JOB_ID,
        epoch=5,
        kind="final",
        spec={"target": "label"},
    )


def safetensors_of(of: Published, part_bytes: int = 1000) -> bytes:
    """Return the safetensors file of a network whose stored file comes in parts of this size."""
    stored = to_bytes(dict(of.trained.arrays))
    parts = [stored[start : start + part_bytes] for start in range(0, len(stored), part_bytes)]
    return b"".join(to_safetensors(of, parts))


def random_network(
    layers: list[dict[str, Any]], encoders: Encoders, *, members: int | None = None, dtype: Any = np.float32
) -> Trained:
    """Return a network of resolved layers with random weights; running variances are positive."""
    resolved = LAYERS.validate_python([_settled(layer) for layer in layers])
    parameters = build_network(resolved, encoders.width).parameters(dtype, members)
    generator = np.random.default_rng(len(layers))
    parameters.flat[...] = generator.normal(0, 0.6, parameters.flat.shape)
    arrays = {name: np.abs(a) + 0.1 if name.endswith("variance") else a for name, a in parameters.named().items()}
    return Trained(resolved, encoders, arrays)


def _settled(layer: dict[str, Any]) -> dict[str, Any]:
    """Return a dense layer with the name of an initializer, as resolved layers have it."""
    if layer["type"] == "residual":
        return layer | {"layers": [_settled(inner) for inner in layer["layers"]]}
    return layer | {"initializer": "zeros"} if layer["type"] == "dense" else layer


def expected(of: Trained, rows: pa.Table) -> dict[str, Any]:
    """Return what our own predict answers, under the names of an ONNX file's outputs."""
    found = Predictor(of).predict_table(rows)
    values: dict[str, Any] = {"predictions": found.predictions}
    if found.probabilities is not None:
        values["probabilities"] = found.probabilities
    if found.spread is not None:
        values["spread"] = found.spread
    return values


def column(rows: pa.Table, name: str) -> Floats:
    """Return a column as an ONNX file takes it, (rows, 1)."""
    values = rows[name]
    if pa.types.is_string(values.type):
        return np.array([[value or ""] for value in values.to_pylist()], object)  # type: ignore[return-value]
    floats: Floats = values.cast(pa.float64()).to_numpy().reshape(-1, 1)
    return floats


def mixed(**changes: Any) -> Job:
    """Return a job on the mixed table, whose categorical columns pool unknown categories."""
    columns = {"kind": {"type": "categorical", "unknown": "pool"}, "grade": {"type": "categorical", "unknown": "pool"}}
    return spec_of(**{"features": FEATURES, "columns": columns} | changes)


ENCODED: dict[str, Any] = {
    "encoding": {
        "numbers": {"scale": "robust", "smooth_clip": True, "bins": 5, "indicator": True},
        "categories": {"most": 1},
    },
    "columns": {"day": {"scale": "quantile", "log": True, "smooth_clip": False}, "grade": {"type": "categorical"}},
}
"Every way to encode a column, on the mixed table."


def with_times() -> tuple[Trained, pa.Table]:
    """Return a network that was trained on times, and its table, whose times are numbers."""
    lines = [f"{1 + n % 28}.{1 + n % 12}.2026 {n % 24}:15,{'ab'[n % 3 == 0]}" for n in range(60)]
    table = read_table("\n".join(["at,label", *lines]).encode(), CSV, Limits())
    return trained(spec_of(), table), table


def encoders_of(spec: Job) -> Encoders:
    return fit_encoders(MIXED, assign_roles(spec, profile_table(MIXED, Limits()), Limits()))


def run_onnx(content: bytes, rows: pa.Table) -> dict[str, Any]:
    """Check the file with ONNX's own checker, run it, and return its outputs by name."""
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs = {given.name: column(rows, given.name) for given in session.get_inputs()}
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))
