"""How many tiny jobs two training processes get through, submitted by four clients; the queue is long meanwhile."""

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2

from tests.benchmarks.service import XOR, on_each_database
from tests.products import Product, free_port, start_product

CLIENTS = 4
JOBS = int(os.environ.get("GRADMILL_BENCH_JOBS", "2000")) // CLIENTS * CLIENTS
"At most as many as the limit of queued jobs, 10,000."
TINY = XOR | {"training": {"epochs": 10}}


def submit(product: Product, jobs: int) -> None:
    headers = {"Authorization": f"Bearer {product.key}"}
    with httpx2.Client(base_url=product.url, headers=headers, timeout=60) as client:
        for _ in range(jobs):
            client.post("/v1/jobs", json=TINY).raise_for_status()


def queue_of(product: Product) -> dict[str, Any]:
    queue: dict[str, Any] = product.get("/v1/system").raise_for_status().json()["queue"]
    return queue


def measure_product(label: str, **environment: str) -> None:
    environment |= {"GRADMILL_WORKERS": "2"}
    with tempfile.TemporaryDirectory() as folder, start_product(Path(folder), free_port(), **environment) as product:
        product.wait(product.post("/v1/jobs", TINY).raise_for_status().json()["id"])
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda _: submit(product, JOBS // CLIENTS), range(CLIENTS)))
        submitted, waiting = time.perf_counter(), queue_of(product)["depth"]
        while (queue := queue_of(product))["depth"] or queue["running"]:
            time.sleep(0.5)
        ended = time.perf_counter()
        others = product.get("/v1/jobs?status=failed,cancelled&limit=1").raise_for_status().json()
        assert not others["data"], others
    print(f"{label:11} submitted {JOBS / (submitted - began):6.1f} jobs/s, while two processes train")
    print(f"{label:11} trained   {waiting / (ended - submitted):6.1f} jobs/s after that")
    print(f"{label:11} in all    {JOBS / (ended - began):6.1f} jobs/s from the first submission to the last end")


def measure() -> None:
    on_each_database(measure_product)
