"""Predictions over HTTP beside what a user might take instead, in one run, and what a request is made of.

The peers run in the Python of GRADMILL_BENCH_PYTHON, or in this one; those that it lacks are left out.
"""

import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from safetensors import numpy as safetensors
from threadpoolctl import threadpool_limits

from tests.benchmarks.load import Figures, http_request, load
from tests.benchmarks.service import WIDE
from tests.products import Product, free_port, start_product, wait_for_port

ROUNDS, SECONDS = 3, 2.0
MODELS = int(os.environ.get("GRADMILL_BENCH_MODELS", "500"))
PYTHON = os.environ.get("GRADMILL_BENCH_PYTHON", sys.executable)
SERVERS = {"uvicorn, no-op": "uvicorn", "FastAPI, async": "fastapi", "LitServe": "litserve", "MLflow": "mlflow"}
FILES = {
    "uvicorn, no-op": "bare_asgi",
    "FastAPI, async": "plain_fastapi",
    "LitServe": "lit",
    "MLflow": "mlflow_scoring",
}
ROW = [[0.5] * 30]


@contextmanager
def peer(name: str) -> Iterator[int]:
    """Its port, once it answers."""
    port = free_port()
    program = Path(__file__).parent / "servers" / f"{FILES[name]}.py"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([PYTHON, str(program), str(port)], start_new_session=True, **quiet)  # type: ignore[call-overload]
    try:
        wait_for_port(port, process, 90)
        # it may listen before it serves
        time.sleep(3)
        yield port
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def request_for(name: str) -> bytes:
    path, member = ("/invocations", "inputs") if name == "MLflow" else ("/predict", "rows")
    return http_request("POST", path, json.dumps({member: ROW}).encode(), Content_Type="application/json")


def of(
    product: Product, method: str, path: str, body: bytes = b"", kind: str = "application/json", **more: str
) -> bytes:
    return http_request(method, path, body, Authorization=f"Bearer {product.key}", Content_Type=kind, **more)


def compare(product: Product, path: str) -> None:
    """One row, 30-64-64-2: everyone in turns, on one connection and on sixteen."""
    body = json.dumps({"rows": ROW}).encode()
    targets = {
        "gradmill": (product.port, of(product, "POST", path, body)),
        "no-op with a key": (product.port, of(product, "GET", "/v2")),
    }
    with ExitStack() as running:
        for name, module in SERVERS.items():
            if subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0:
                targets[name] = (running.enter_context(peer(name)), request_for(name))
        alone: dict[str, list[Figures]] = {name: [] for name in targets}
        crowd: dict[str, list[Figures]] = {name: [] for name in targets}
        for _ in range(ROUNDS):
            for name, (port, request) in targets.items():
                alone[name].append(load(port, [request], connections=1, seconds=SECONDS))
                crowd[name].append(load(port, [request], connections=16, seconds=SECONDS))
    own = statistics.median(figures.rate for figures in crowd["gradmill"])
    print("one row, 30-64-64-2     p50 of one     requests/s of 16   gradmill against it")
    for name in targets:
        p50 = statistics.median(figures.p50 for figures in alone[name]) * 1e3
        rate = statistics.median(figures.rate for figures in crowd[name])
        print(f"{name:20} {p50:10.2f} ms {rate:16,.0f} {own / rate:18.2f}x")


def compare_rows(product: Product, path: str) -> None:
    """1,000 rows of 30 as JSON, against parsing that JSON."""
    rows = np.random.default_rng(0).normal(size=(1000, 30)).tolist()
    body = orjson.dumps({"rows": rows})
    parsing = min(timeit.repeat(lambda: orjson.loads(body), number=20, repeat=9)) / 20
    plain = f"{path}?probabilities=false"
    took = load(product.port, [of(product, "POST", plain, body)], connections=1, seconds=SECONDS).p50
    full = load(product.port, [of(product, "POST", path, body)], connections=1, seconds=SECONDS).p50
    print(
        f"1,000 rows x 30, JSON: {took * 1e3:.2f} ms, {took / parsing:.1f}x orjson's parsing of it"
        f" ({parsing * 1e3:.2f} ms); with probabilities {full * 1e3:.2f} ms"
    )


def compare_tensors(product: Product) -> None:
    """1,000 rows of 784 as a raw tensor, against the product alone."""
    generator = np.random.default_rng(0)
    arrays = {}
    for n, shape in enumerate(((784, 256), (256, 128), (128, 10))):
        arrays[f"{2 * n}.weight"] = generator.normal(0, 0.05, shape[::-1]).astype(np.float32)
        arrays[f"{2 * n}.bias"] = np.zeros(shape[1], np.float32)
    import_model(product, "wide", arrays, ["relu", "relu", "softmax"])
    x = generator.normal(size=(1000, 784)).astype(np.float32)
    weights = [arrays[f"{2 * n}.weight"].T.copy() for n in range(3)]

    def bare() -> Any:
        return np.maximum(np.maximum(x @ weights[0], 0) @ weights[1], 0) @ weights[2]

    with threadpool_limits(1):
        product_seconds = min(timeit.repeat(bare, number=3, repeat=9)) / 3
    header = json.dumps(
        {
            "inputs": [
                {"name": "rows", "shape": [1000, 784], "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}
            ],
            "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
        }
    ).encode()
    length = {"Inference_Header_Content_Length": str(len(header))}
    request = of(product, "POST", "/v2/models/wide/infer", header + x.tobytes(), "application/octet-stream", **length)
    took = load(product.port, [request], connections=1, seconds=SECONDS).p50
    print(
        f"1,000 rows x 784, raw tensor: {took * 1e3:.2f} ms, {took / product_seconds:.2f}x the bare product"
        f" ({product_seconds * 1e3:.2f} ms)"
    )


def import_model(product: Product, name: str, arrays: dict[str, Any], activations: list[str]) -> None:
    file = io.BytesIO(safetensors.save(arrays))
    response = product.client.post(
        f"/v1/models/{name}/versions?format=safetensors",
        files={"file": ("w.safetensors", file)},
        data={"description": json.dumps({"activations": activations})},
    )
    assert response.status_code == 201, response.text


def compare_models(product: Product) -> None:
    """So many networks of 5,000 parameters in turn, against one of them."""
    generator = np.random.default_rng(0)
    for n in range(MODELS):
        arrays = {
            "0.weight": generator.normal(0, 0.2, (150, 30)).astype(np.float32),
            "0.bias": np.zeros(150, np.float32),
            "2.weight": generator.normal(0, 0.2, (2, 150)).astype(np.float32),
            "2.bias": np.zeros(2, np.float32),
        }
        import_model(product, f"m{n}", arrays, ["relu", "softmax"])
    body = json.dumps({"rows": ROW}).encode()
    requests = [of(product, "POST", f"/v1/models/m{n}/predict", body) for n in range(MODELS)]
    load(product.port, requests, connections=1, seconds=2 * SECONDS)
    one, all_of_them = [], []
    for _ in range(ROUNDS):
        one.append(load(product.port, requests[:1], connections=1, seconds=SECONDS).p99)
        all_of_them.append(load(product.port, requests, connections=1, seconds=SECONDS).p99)
    a, b = statistics.median(one), statistics.median(all_of_them)
    print(f"{MODELS} models in turn: p99 {b * 1e3:.2f} ms, {b / a:.2f}x that of one ({a * 1e3:.2f} ms)")


def measure() -> None:
    with tempfile.TemporaryDirectory() as folder, start_product(Path(folder) / "data", free_port()) as product:
        job = product.wait(product.post("/v1/jobs", WIDE | {"model": "own"}).json()["id"])
        assert job["status"] == "succeeded"
        path = "/v1/models/own/predict"
        compare(product, path)
        compare_rows(product, path)
        compare_tensors(product)
        compare_models(product)
