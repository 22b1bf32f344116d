"""kill -9 while a whole table is predicted: of the process that predicts, or of the whole worker."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.faults.lengths import WHOLE_WORKER
from tests.products import Product, free_port, start_product

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ARROW = {"Accept": "application/vnd.apache.arrow.stream"}
# some seconds of work for one process: wide enough that a kill comes in the middle of it
ROWS = 60_000
TABLE = {"source": "generator", "name": "spirals", "rows": ROWS, "seed": 7}
SPEC: dict[str, Any] = {
    "name": "wide",
    "model": "wide",
    "dataset": {"source": "generator", "name": "spirals", "rows": 200},
    "target": "label",
    "network": {"layers": [{"type": "dense", "units": 1024}] * 3},
    "training": {"epochs": 1},
}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    options = {"GRADMILL_LEASE_SECONDS": "2", "GRADMILL_WORKERS": "1"}
    with start_product(tmp_path_factory.mktemp("predicting"), free_port(), **options) as product:
        job = product.post("/v1/jobs", SPEC).raise_for_status().json()
        assert product.wait(job["id"])["model"] == {"name": "wide", "version": 1}
        yield product


@pytest.fixture(scope="module")
def undisturbed(product: Product) -> pa.Table:
    """The result when nobody is killed."""
    prediction = submit(product)
    shown = wait(product, prediction, "succeeded")
    assert (shown["attempt"], shown["rows"]) == (1, ROWS)
    return result(product, prediction)


def submit(product: Product) -> str:
    answer = product.post("/v1/models/wide/predict", {"dataset": TABLE})
    assert answer.status_code == 202
    return str(answer.json()["id"])


def wait(product: Product, prediction_id: str, status: str, attempt: int = 1) -> dict[str, Any]:
    """Wait until the prediction has this status and at least this many attempts, and return it."""
    deadline = time.monotonic() + 90
    while True:
        shown: dict[str, Any] = product.get(f"/v1/predictions/{prediction_id}").raise_for_status().json()
        if shown["status"] == status and shown["attempt"] >= attempt:
            return shown
        assert shown["status"] in ("queued", "running"), shown
        assert time.monotonic() < deadline, shown
        time.sleep(0.02)


def result(product: Product, prediction_id: str) -> pa.Table:
    answer = product.get(f"/v1/predictions/{prediction_id}/result", headers=ARROW).raise_for_status()
    return pa.ipc.open_stream(answer.content).read_all()


@pytest.mark.parametrize("whole_worker", WHOLE_WORKER)
def test_a_killed_prediction_is_taken_up_again_and_written_once(
    product: Product, undisturbed: pa.Table, whole_worker: bool
) -> None:
    """Its result has the same bits as an undisturbed one, in one stored object."""
    stored = set(stored_keys(product))
    prediction_id = submit(product)
    wait(product, prediction_id, "running")
    for victim in product.worker_processes() if whole_worker else product.training_processes():
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    shown = wait(product, prediction_id, "succeeded", attempt=2)
    assert (shown["attempt"], shown["error"]) == (2, None)
    assert result(product, prediction_id) == undisturbed
    assert len(set(stored_keys(product)) - stored) == 1


def stored_keys(product: Product) -> list[str]:
    folder = Path(product.folder) / "datasets"
    return [path.name for path in folder.iterdir()] if folder.exists() else []
