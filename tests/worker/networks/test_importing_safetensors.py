"""safetensors files: networks predict as they did elsewhere, and bytes that can't be trusted are refused."""

import importlib.util
import json
from typing import Any

import numpy as np
import pytest
from onnx import helper
from safetensors import numpy as safetensors

from tests.conftest import missing
from tests.worker.networks.networks import MIXED, mixed, published, trained
from tests.worker.networks.strangers import (
    ACTIVE,
    B1,
    B2,
    STATE,
    W1,
    X,
    model_of,
    own,
    predicted,
    state_dict,
)
from worker.errors import SpecError, WeightsFileError
from worker.networks.onnx.reader import from_onnx
from worker.networks.onnx.writer import to_onnx
from worker.networks.predictor import Predictor
from worker.networks.safetensors import from_safetensors
from worker.settings import Limits
from worker.specs.imports import Description


def test_a_pytorch_state_dict_predicts_as_pytorch_did() -> None:
    """PyTorch's own safetensors writes the file; the client describes the activations."""
    if importlib.util.find_spec("torch") is None:
        missing("PyTorch")
    import torch
    from safetensors.torch import save
    from torch import nn

    network = nn.Sequential(nn.Linear(3, 5), nn.GELU(approximate="tanh"), nn.Linear(5, 4, bias=False), nn.Softmax(-1))
    description = {"activations": ["gelu", "softmax"], "features": ["a", "b", "c"], "classes": ["n", "e", "s", "w"]}
    imported = from_safetensors(save(network.state_dict()), Description.model_validate(description), Limits())
    with torch.no_grad():
        expected = network(torch.tensor(X, dtype=torch.float32)).numpy()
    found = predicted(imported)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert found.predictions == [description["classes"][n] for n in expected.argmax(axis=1)]
    assert [code.name for code in imported.encoders.features] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("description", "kind", "names"),
    [
        ({"activations": ["relu", "softmax"]}, "class", ("0", "1")),
        ({"activations": ["relu", "identity"], "classes": ["no", "yes"]}, "class", ("no", "yes")),
        ({"activations": ["relu", "sigmoid"], "targets": ["red", "round"]}, "labels", ("red", "round")),
        ({"activations": ["relu", "identity"]}, "number", ("y0", "y1")),
        ({"activations": ["relu", "tanh"], "targets": ["up", "down"]}, "number", ("up", "down")),
    ],
)
def test_what_it_answers_follows_from_the_output_layer(
    description: dict[str, Any], kind: str, names: tuple[str, ...]
) -> None:
    """The activation of the output layer, and the names given, decide between classes, labels and numbers."""
    target = state_dict(**description).encoders.target
    assert target.type == kind
    assert getattr(target, "classes", None) or getattr(target, "names", None) == names


@pytest.mark.parametrize(
    ("description", "pointer", "said"),
    [
        ({}, "/activations", "one for each layer"),
        ({"activations": ["relu"]}, "/activations", "must be 2"),
        ({"activations": ["relu", "softmax"], "features": ["a"]}, "/features", "must be 3 names"),
        ({"activations": ["relu", "softmax"], "features": ["a", "a", "b"]}, "/features", "twice"),
        ({"activations": ["relu", "softmax"], "classes": ["a", "b", "c"]}, "/classes", "must be 2 names"),
        ({"activations": ["relu", "softmax"], "targets": ["a", "b"]}, "/targets", "output layer predicts classes"),
        ({"activations": ["relu", "tanh"], "classes": ["a", "b"]}, "/classes", "need softmax, or one sigmoid"),
    ],
)
def test_a_description_that_does_not_fit_is_named(description: dict[str, Any], pointer: str, said: str) -> None:
    """The error points at the member of the description that does not fit the file."""
    with pytest.raises(SpecError, match=said) as refused:
        state_dict(**description)
    assert refused.value.pointer == pointer


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"0.weight": W1.T[0]}, "must be a matrix"),
        ({"0.bias": B2}, "the bias of 0.weight must be"),
        ({"2.weight": W1.T.copy()}, "takes 3 inputs; 5 units"),
        ({"2.weight": np.full((2, 5), np.nan, np.float32)}, "not finite"),
        ({"2.weight": np.full((2, 5), np.inf, np.float64)}, "not finite"),
        ({"2.weight": np.zeros((2, 5), np.int32)}, "must be float16"),
        ({"2.weight": np.zeros((0, 5), np.float32), "2.bias": np.zeros(0, np.float32)}, "must be a matrix"),
        ({"1.running_mean": B1}, "neither N.weight nor N.bias"),
        ({"head.0.weight": W1}, "same name except"),
        ({"00.weight": W1}, "same name except"),
    ],
)
def test_a_state_dict_that_is_no_chain_is_refused(changes: dict[str, Any], said: str) -> None:
    """Shapes, types, numbers or names that are not those of linear layers in a row are named."""
    with pytest.raises(WeightsFileError, match=said):
        from_safetensors(safetensors.save(STATE | changes), ACTIVE, Limits())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04\x95pickle",
        b"\xff" * 64,
        (2**63).to_bytes(8, "little") + b"{}",
        (100).to_bytes(8, "little") + b'{"a": {"dtype": "F32"',
        safetensors.save(STATE)[:-1],
        safetensors.save(STATE) + b"\0",
        (2).to_bytes(8, "little") + b"[]",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
    ],
)
def test_bytes_that_are_no_file_of_weights_are_refused(content: bytes) -> None:
    """Truncated, lying and foreign bytes end in a WeightsFileError, whichever format they claim to have."""
    for read in (from_safetensors, from_onnx):
        with pytest.raises(WeightsFileError):
            read(content, None, Limits())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda n, e, a: n["layers"].pop(), r"layers.2.b must be absent"),
        (lambda n, e, a: n["layers"].pop(0), "embedded columns"),
        (lambda n, e, a: n.update(layers=[]), "1 to 257 layers"),
        (lambda n, e, a: n.update(layers=n["layers"] * 200), "network: List should have at most 257"),
        (lambda n, e, a: n["layers"][0].update(position=7), "embeddings"),
        (lambda n, e, a: n["layers"][0].update(position=0), "embeddings"),
        (lambda n, e, a: n["layers"][0].update(categories=1), "embeddings"),
        (lambda n, e, a: n["layers"][0].update(column="size"), "categorical feature"),
        (lambda n, e, a: n["layers"][1].update(units=65_536), "must be"),
        (lambda n, e, a: n["layers"][1].update(units=10**9), "can't be read"),
        (lambda n, e, a: n["layers"][1].update(activation="exec"), "can't be read"),
        (lambda n, e, a: n["layers"][1].update(type="dropout", rate=0.1), "can't be read"),
        (lambda n, e, a: e["features"][0].update(scale=0.0), "can't be used"),
        (lambda n, e, a: e["features"][0].update(mean=float("nan")), "can't be (used|read)"),
        (lambda n, e, a: e["features"][0].update(name="kind"), "two columns"),
        (lambda n, e, a: e["features"][0].update(name="a\nb"), "printable"),
        (lambda n, e, a: e["features"][1].update(most_frequent="zebra"), "can't be used"),
        (lambda n, e, a: e["features"][1].update(categories=["a", "a", "b"]), "can't be used"),
        (lambda n, e, a: e["features"][3].update(categories=["a" * 100_000, "b", "c"]), "can't be used"),
        (lambda n, e, a: e["target"].update(classes=["yes"]), "target does not fit"),
        (lambda n, e, a: e["target"].update(classes=["yes", "yes", "no"]), "target does not fit"),
        (lambda n, e, a: e.update(target={"type": "number", "names": ["a"], "means": [], "scales": []}), "target"),
        (lambda n, e, a: e.pop("target"), "can't be read"),
        (lambda n, e, a: a.pop("layers.1.b"), r"layers.1.b must be \(3,\), got nothing"),
        (lambda n, e, a: a.update({"layers.1.c": a["layers.1.b"]}), "must be absent"),
        (lambda n, e, a: a.update({"layers.1.b": a["layers.1.b"].astype(np.float64)}), "one precision"),
        (lambda n, e, a: a.update({"layers.1.b": np.full(3, np.nan, np.float32)}), "not finite"),
        (lambda n, e, a: a.update({f"members.{k}.x": a["layers.1.b"] for k in range(65)}), "at most 64 members"),
    ],
)
def test_our_own_format_with_a_lie_in_it_is_refused(change: Any, said: str) -> None:
    """Nothing that the file claims is believed or allocated before it has been compared."""
    with pytest.raises(WeightsFileError, match=said):
        from_safetensors(own(change), None, Limits())


def test_our_own_file_needs_no_description() -> None:
    """A description is refused where the file says the same itself."""
    with pytest.raises(SpecError, match="describes itself"):
        from_safetensors(own(lambda n, e, a: None), ACTIVE, Limits())
    with pytest.raises(SpecError, match="has its own"):
        from_onnx(model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": W1}), ACTIVE, Limits())


def test_files_with_wrong_bytes_are_taken_or_refused_and_nothing_else() -> None:
    """Bytes are changed, removed and added at random: a file that is taken predicts, and no other error escapes."""
    generator = np.random.default_rng(0)
    gemm = helper.make_node("Gemm", ["x", "w", "b"], ["p"], name="first", alpha=0.5, transB=1)
    onnx = model_of([gemm, helper.make_node("Elu", ["p"], ["y"])], {"w": W1.T.copy(), "b": B1})
    layers = [{"type": "embedding", "column": "kind", "dimensions": 2}, {"type": "dense", "units": 3}]
    ours = to_onnx(published(trained(mixed(network={"layers": layers}), MIXED)))
    files = (own(lambda n, e, a: None), from_safetensors), (onnx, from_onnx), (ours, from_onnx)
    taken = 0
    for content, read in files * 400:
        spoilt = bytearray(content)
        # most of a file is its beginning: names, shapes and types
        place = int(generator.integers(len(spoilt))) if generator.random() < 0.5 else int(generator.integers(200))
        length = int(generator.integers(1, 4))
        spoilt[place : place + length] = generator.bytes(length * int(generator.integers(3)))
        try:
            imported = read(bytes(spoilt), None, Limits())
        except (WeightsFileError, SpecError):
            continue
        taken += 1
        Predictor(imported)
    assert 0 < taken < 1200


def test_a_layer_that_leaves_its_initializer_out_is_taken() -> None:
    """Only a network that is to be trained draws numbers; `auto` need not be resolved for one that is served."""
    arrays = {"layers.0.w": np.ones((3, 2), np.float32), "layers.0.b": np.zeros(2, np.float32)}
    encoders = {
        "features": [{"type": "numeric", "name": name, "median": 0, "mean": 0, "scale": 1} for name in "abc"],
        "target": {"type": "class", "name": "y", "classes": ["no", "yes"]},
    }
    for activation in ("softmax", "identity"):
        metadata = {
            "format": "gradmill",
            "network": json.dumps([{"type": "dense", "units": 2, "activation": activation}]),
            "encoders": json.dumps(encoders),
        }
        content = safetensors.save(arrays, metadata)
        if activation == "softmax":
            assert from_safetensors(content, None, Limits()).encoders.width == 3
        else:
            with pytest.raises(WeightsFileError, match="which give probabilities"):
                from_safetensors(content, None, Limits())


def test_a_header_that_is_large_once_parsed_is_refused_before_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """The arrays are counted in the bytes: 200,000 names take a gigabyte when the library parses them."""
    monkeypatch.setattr("worker.networks.safetensors.safetensors_numpy.load", lambda _: pytest.fail("was parsed"))
    named = ",".join(f'"{n}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for n in range(200_000))
    header = f"{{{named}}}".encode()
    with pytest.raises(WeightsFileError, match="a header of more than"):
        from_safetensors(len(header).to_bytes(8, "little") + header, None, Limits())


def test_metadata_may_be_null() -> None:
    """A header whose __metadata__ is null is one without metadata."""
    content = safetensors.save({"0.weight": np.ones((1, 2), np.float32)}, {"a": "b"})
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].replace(b'{"a":"b"}', b"null     ")
    changed = content[:8] + header + content[8 + length :]
    assert b"null" in header
    trained = from_safetensors(changed, Description(activations=("identity",)), Limits())
    assert trained.network.inputs == 2
