"""What a client waits for, over HTTP, on SQLite and PostgreSQL: submission, whole small jobs, predictions."""

import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.products import Product, free_port, start_product

ADMIN = "postgresql://postgres@127.0.0.1:5432/postgres"

XOR = {
    "name": "xor",
    "dataset": {"source": "builtin", "name": "xor"},
    "target": "label",
    "network": {"layers": [{"type": "dense", "units": 8, "activation": "tanh"}]},
    "training": {"epochs": 200, "optimizer": {"type": "adam", "learning_rate": 0.05}},
}
WIDE = {
    "name": "30-64-64-2",
    "dataset": {"source": "builtin", "name": "breast_cancer"},
    "target": "label",
    "network": {"layers": [{"type": "dense", "units": 64}, {"type": "dense", "units": 64}]},
    "training": {"epochs": 5},
}


@contextmanager
def postgresql() -> Iterator[str]:
    name = f"gradmill_bench_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(ADMIN, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield ADMIN.removesuffix("postgres") + name
    finally:
        with psycopg.connect(ADMIN, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def milliseconds(times: list[float]) -> str:
    ordered = sorted(times)
    return f"p50 {statistics.median(ordered) * 1e3:7.2f} ms   p99 {ordered[int(len(ordered) * 0.99)] * 1e3:7.2f} ms"


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def until_end(product: Product) -> tuple[float, float, float]:
    """Seconds from the submission of an XOR job to its answer, its first epoch on the stream, and its end."""
    began = time.perf_counter()
    job = product.post("/v1/jobs", XOR).json()
    answered = time.perf_counter() - began
    first = 0.0
    with product.client.stream("GET", job["links"]["events"], headers={"Accept": "application/x-ndjson"}) as response:
        for line in response.iter_lines():
            document = json.loads(line)
            if document["event"] == "epoch" and not first:
                first = time.perf_counter() - began
            if document["event"] == "end":
                assert document["data"]["status"] == "succeeded"
    return answered, first, time.perf_counter() - began


def measure_product(label: str, **environment: str) -> None:
    with tempfile.TemporaryDirectory() as folder, start_product(Path(folder), free_port(), **environment) as product:
        jobs = [until_end(product) for _ in range(40)][5:]
        answered, first, end = (list(times) for times in zip(*jobs, strict=True))
        print(f"{label:11} POST /v1/jobs, idle     {milliseconds(answered)}")
        print(f"{label:11} submit to first epoch   {milliseconds(first)}")
        print(f"{label:11} a whole XOR job         {milliseconds(end)}")
        job = product.wait(product.post("/v1/jobs", WIDE).json()["id"])
        body = {"rows": [[1.0] * 30]}
        noop, predict = [], []
        for _ in range(1000):
            noop.append(timed(lambda: product.get("/healthz")))
            predict.append(timed(lambda: product.post(job["links"]["predict"], body)))
        ratio = statistics.median(predict[100:]) / statistics.median(noop[100:])
        print(f"{label:11} GET /healthz, a no-op  {milliseconds(noop[100:])}")
        print(f"{label:11} predict of one row      {milliseconds(predict[100:])}   {ratio:.2f}x the no-op")
        submissions = [timed(lambda: product.post("/v1/jobs", XOR)) for _ in range(200)]
        print(f"{label:11} POST /v1/jobs, busy     {milliseconds(submissions)}   200 at once, workers training")


def on_each_database(measure_product: Callable[..., None]) -> None:
    """Call it with a label, and with the settings of a product on that database as keywords."""
    measure_product("SQLite")
    try:
        with postgresql() as url:
            measure_product("PostgreSQL", GRADMILL_DATABASE_URL=url)
    except psycopg.OperationalError:
        print("PostgreSQL is not here")


def measure() -> None:
    on_each_database(measure_product)
