"""The generated PyTorch program, run on the safetensors file in its own process, predicts as we do."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import missing, spec_of
from tests.worker.networks.networks import (
    ENCODED,
    EVERY_LAYER,
    FEATURES,
    MIXED,
    encoders_of,
    expected,
    mixed,
    published,
    random_network,
    safetensors_of,
    trained,
    with_times,
)
from worker.backprop.activations import ACTIVATIONS
from worker.data.sources import make_table
from worker.networks.predictor import Predictor
from worker.networks.pytorch import to_pytorch
from worker.networks.trained import Trained
from worker.specs.dataset import BuiltinDataset


@pytest.fixture(autouse=True)
def _pytorch() -> None:
    if importlib.util.find_spec("torch") is None:
        missing("PyTorch")


def assert_same(of: Trained, rows: pa.Table, folder: Path, tolerance: float = 1e-5) -> None:
    program, weights, table = folder / "program.py", folder / "weights.safetensors", folder / "rows.json"
    program.write_text(to_pytorch(published(of)))
    weights.write_bytes(safetensors_of(published(of)))
    features = [code.name for code in of.encoders.features]
    table.write_text(json.dumps(rows.select(features).to_pylist()))
    said = subprocess.run([sys.executable, program, weights, table], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    found, wanted = json.loads(said.stdout), expected(of, rows)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if isinstance(value[0], str):
            assert found[name] == value
        else:
            shape = np.shape(found[name])
            np.testing.assert_allclose(found[name], np.reshape(value, shape), rtol=tolerance, atol=tolerance)


def test_a_trained_network_predicts_the_same(tmp_path: Path) -> None:
    """A network trained on the digits gives PyTorch's answers."""
    table = make_table(BuiltinDataset(source="builtin", name="digits"))
    assert_same(trained(spec_of(dataset={"source": "builtin", "name": "digits"}), table), table, tmp_path)


@pytest.mark.parametrize(
    ("target", "loss"), [("label", "auto"), (("red", "round"), "binary_cross_entropy"), ("count", "poisson")]
)
def test_an_ensemble_on_categories_predicts_the_same(target: Any, loss: str, tmp_path: Path) -> None:
    """Missing cells, a pooled unknown category, an embedding and the members' spread agree."""
    layers = [{"type": "embedding", "column": "kind", "dimensions": 3}, {"type": "dense", "units": 5}]
    training = {"loss": loss, "ensemble": 3}
    of = trained(mixed(target=target, features=FEATURES, network={"layers": layers}, training=training), MIXED)
    assert_same(of, MIXED.set_column(1, "kind", pa.array(["a", "zebra", None] * 10)), tmp_path)


def test_every_encoding_of_a_column_computes_the_same(tmp_path: Path) -> None:
    """Also for missing cells, numbers far outside the range of training, and rare categories."""
    of = trained(mixed(**ENCODED), MIXED)
    assert_same(of, MIXED, tmp_path)
    rows = MIXED.set_column(0, "size", pa.array([1e300, -1e9, None] * 10))
    assert_same(of, rows, tmp_path)


def test_a_time_computes_the_same(tmp_path: Path) -> None:
    """As text in the column's own form, and as a number."""
    of, rows = with_times()
    assert_same(of, rows, tmp_path)
    assert_same(
        of, rows.set_column(0, "at", pa.array([f"{1 + n % 28}.02.2030 23:59:59.5" for n in range(60)])), tmp_path
    )


def test_every_layer_and_activation_computes_the_same(tmp_path: Path) -> None:
    """Each PyTorch module agrees with the layer's own formula, in float64."""
    several = [{"type": "dense", "units": 6, "activation": name} for name in ACTIVATIONS if name != "exponential"]
    output = {"type": "dense", "units": 3, "activation": "softmax"}
    of = random_network([*EVERY_LAYER, *several, output], encoders_of(mixed()), dtype=np.float64)
    # softplus becomes z itself past 20 in PyTorch, which is right to nine digits
    assert_same(of, MIXED, tmp_path, 1e-8)


def test_each_spelling_of_a_cell_means_the_same(tmp_path: Path) -> None:
    """The program reads names and cells by our own functions."""
    features = ["n", "kind"]
    table = pa.table({"n": [1.5, None, 3.0, 4.0] * 10, "kind": ["true", "1", "x", None] * 10, "label": ["a", "b"] * 20})
    of = trained(spec_of(features=features, columns={}), table)
    program, weights, rows = tmp_path / "program.py", tmp_path / "weights.safetensors", tmp_path / "rows.json"
    program.write_text(to_pytorch(published(of)))
    weights.write_bytes(safetensors_of(published(of)))
    cells = [True, "TRUE", " true", 1, 1.0, "1.0", " 1", "x ", "NA", "", None, "new", "n/a"]
    asked = [{" n": number, "kind ": cell} for cell in cells for number in (1.5, " 1.5", "NA", None, "+3")]
    rows.write_text(json.dumps(asked))
    said = subprocess.run([sys.executable, program, weights, rows], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    wanted = Predictor(of).predict_rows(asked)
    np.testing.assert_allclose(json.loads(said.stdout)["probabilities"], wanted.probabilities, rtol=1e-5)
    rows.write_text(json.dumps([{"n": "1,5", "kind": "x"}]))
    refused = subprocess.run([sys.executable, program, weights, rows], capture_output=True, text=True, check=False)
    assert "ValueError: 1,5" in refused.stderr


def test_no_text_of_a_client_is_in_the_program() -> None:
    """A column whose name is code stays in the weights file's metadata."""
    names = ['"); import os; (', "b", "c", "d", "label", *"efgh"]
    of = trained(spec_of(features=names[:4]), MIXED.rename_columns(names))
    assert "import os" not in to_pytorch(published(of))
    assert "import os" in of.encoders.model_dump_json()
