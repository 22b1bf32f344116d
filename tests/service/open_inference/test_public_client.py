"""The unmodified public client of the Open Inference Protocol against a running product."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

from tests.conftest import SPEC
from tests.products import Product

pytestmark = pytest.mark.slow

X = load_iris().data[::10].astype(np.float32)
CSV = "city,area,price\n" + "".join(f"{('oslo', 'rome', '')[n % 3]},{n},{100 + 3 * n}\n" for n in range(60))


class Asked:
    """The client with the key in each call's headers."""

    def __init__(self, client: InferenceServerClient, key: str) -> None:
        self.client, self._key = client, key

    @property
    def headers(self) -> dict[str, str]:
        """Return a new dictionary each time, because the client adds its own headers to it."""
        return {"Authorization": f"Bearer {self._key}"}

    def infer(self, name: str, *inputs: InferInput, **options: Any) -> InferResult:
        return self.client.infer(name, list(inputs), headers=self.headers, **options)


@pytest.fixture(scope="module")
def served(gradmill: Product) -> Product:
    """The product with the models flowers (version 1) and homes (version 1)."""
    uploaded = gradmill.client.post("/v1/datasets", content=CSV.encode(), headers={"Content-Type": "text/csv"})
    homes = {"dataset": {"source": "stored", "id": uploaded.json()["id"]}, "target": "price", "model": "homes"}
    jobs = [
        gradmill.post("/v1/jobs", SPEC | {"model": "flowers"}),
        gradmill.post("/v1/jobs", SPEC | homes | {"training": {"epochs": 3, "ensemble": 2}}),
    ]
    assert [gradmill.wait(job.json()["id"])["status"] for job in jobs] == ["succeeded"] * 2
    return gradmill


@pytest.fixture
def asked(served: Product) -> Iterator[Asked]:
    with InferenceServerClient(f"127.0.0.1:{served.port}") as client:
        yield Asked(client, served.key)


def given(name: str, array: np.ndarray[Any, Any], datatype: str, *, binary: bool = True) -> InferInput:
    return InferInput(name, list(array.shape), datatype).set_data_from_numpy(array, binary_data=binary)


@pytest.fixture
def expected(served: Product) -> tuple[list[str], np.ndarray[Any, Any]]:
    """What /v1 predicts for X, whose numbers it takes as float64: each is the float32's very value."""
    document = served.post("/v1/models/flowers/predict", {"rows": X.astype(float).tolist()}).json()
    return document["predictions"], np.array(document["probabilities"], np.float32)


def test_it_finds_out_what_is_served(asked: Asked) -> None:
    """The client reads health, readiness, metadata and the index."""
    client, headers = asked.client, asked.headers
    assert client.is_server_live(headers=headers)
    assert client.is_server_ready(headers=headers)
    assert client.is_model_ready("flowers", headers=headers)
    assert client.is_model_ready("flowers", "1", headers=headers)
    assert not client.is_model_ready("flowers", "2", headers=headers)
    assert not client.is_model_ready("nothing", headers=headers)
    assert not client.is_server_live()
    assert "binary_tensor_data" in client.get_server_metadata(headers=headers)["extensions"]
    assert client.get_model_metadata("flowers", headers=headers)["inputs"] == [
        {"name": "rows", "datatype": "FP32", "shape": [-1, 4]}
    ]
    index = client.get_model_repository_index(headers=headers)
    assert {"name": "homes", "version": "1", "state": "READY", "reason": ""} in index


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [None, True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_every_way_to_ask_gives_the_bits_of_v1(
    asked: Asked, expected: Any, binary_in: bool, binary_out: bool | None, compression: str | None
) -> None:
    """Raw or JSON, compressed or not, the client gets the numbers of /v1.

    binary_out None: no outputs are named, and all come, binary.
    """
    outputs = None
    if binary_out is not None:
        outputs = [InferRequestedOutput(name, binary_data=binary_out) for name in ("probabilities", "predictions")]
    result = asked.infer(
        "flowers",
        given("rows", X, "FP32", binary=binary_in),
        outputs=outputs,
        request_id="seven",
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    np.testing.assert_array_equal(result.as_numpy("probabilities"), expected[1])
    called = result.as_numpy("predictions")
    assert [name.decode() if isinstance(name, bytes) else name for name in called] == expected[0]
    document = result.get_response()
    assert (document["id"], document["model_name"], document["model_version"]) == ("seven", "flowers", "1")


def test_encoded_rows_give_the_same_as_raw_ones(asked: Asked, served: Product, expected: Any) -> None:
    """Rows that the test encodes with the means and deviations of the weights' file give the same bits."""
    job_id = served.get("/v1/models/flowers/versions/1").json()["job_id"]
    content = served.get(f"/v1/jobs/{job_id}/weights").content
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    codes = json.loads(metadata["encoders"])["features"]
    x = (X - np.array([code["mean"] for code in codes])) / np.array([code["scale"] for code in codes])
    result = asked.infer("flowers.encoded", given("encoded", x.astype(np.float32), "FP32"), model_version="1")
    np.testing.assert_array_equal(result.as_numpy("probabilities"), expected[1])


@pytest.mark.parametrize("binary", [True, False])
def test_categories_go_in_as_bytes(asked: Asked, served: Product, binary: bool) -> None:
    """Texts and missing cells that the client packs as BYTES predict what they predict in /v1."""
    cities = np.array(["oslo", "rome", b""], np.object_)
    areas = np.array([1.5, np.nan, 3.0])
    rows = [["oslo", 1.5], ["rome", None], [None, 3.0]]
    document = served.post("/v1/models/homes/predict", {"rows": rows}).json()
    result = asked.infer(
        "homes", given("city", cities, "BYTES", binary=binary), given("area", areas, "FP64", binary=binary)
    )
    np.testing.assert_array_equal(result.as_numpy("predictions")[:, 0], document["predictions"])
    np.testing.assert_array_equal(result.as_numpy("spread")[:, 0], document["spread"])


def test_the_highest_classes_come_as_text(asked: Asked, expected: Any) -> None:
    """class_count gives the highest classes as text, binary or not."""
    for binary in (True, False):
        output = InferRequestedOutput("probabilities", binary_data=binary, class_count=2)
        told = asked.infer("flowers", given("rows", X, "FP32"), outputs=[output]).as_numpy("probabilities")
        assert told.shape == (len(X), 2)
        text = told[0, 0].decode() if isinstance(told[0, 0], bytes) else told[0, 0]
        value, index, label = text.split(":")
        assert np.float32(value) == expected[1][0].max()
        assert (int(index), label) == (expected[1][0].argmax(), expected[0][0])


def test_statistics_count_what_was_asked(asked: Asked) -> None:
    """One request raises the counts by its rows and by one."""

    def figures() -> dict[str, Any]:
        return asked.client.get_inference_statistics("flowers", "1", headers=asked.headers)["model_stats"][0]

    before = figures()
    asked.infer("flowers", given("rows", X, "FP32"))
    after = figures()
    assert after["inference_count"] - before["inference_count"] == len(X)
    assert after["execution_count"] - before["execution_count"] == 1
    names = {model["name"] for model in asked.client.get_inference_statistics(headers=asked.headers)["model_stats"]}
    assert {"flowers", "homes"} <= names


@pytest.mark.parametrize(
    ("name", "array", "datatype", "input_name", "status", "said"),
    [
        ("nothing", X, "FP32", "rows", "404", "nothing here by that name"),
        ("flowers/x", X, "FP32", "rows", "404", "nothing here by that name"),
        ("flowers", X[:, :3], "FP32", "rows", "400", "must be of shape [-1, 4], got [15, 3]"),
        ("flowers", X[0], "FP32", "rows", "400", "must be of shape [-1, 4], got [4]"),
        ("flowers", X, "FP32", "columns", "400", "the model has none of this name; it takes 'rows'"),
        ("flowers", X > 1, "BOOL", "rows", "400", "must be numbers, got BOOL"),
        ("flowers", X * np.inf, "FP32", "rows", "400", "too large"),
    ],
)
def test_what_is_wrong_is_told_in_the_clients_exception(
    asked: Asked, name: str, array: Any, datatype: str, input_name: str, status: str, said: str
) -> None:
    """The client's exception has the status and the sentence of the refusal."""
    with pytest.raises(InferenceServerException) as raised:
        asked.infer(name, given(input_name, array, datatype))
    assert raised.value.status() == status
    assert said in raised.value.message()


def test_without_a_key_the_client_is_told_so(asked: Asked) -> None:
    """Without a key the client's exception is a 401 that asks for one."""
    with pytest.raises(InferenceServerException) as raised:
        asked.client.infer("flowers", [given("rows", X, "FP32")])
    assert (raised.value.status(), "key" in raised.value.message()) == ("401", True)
