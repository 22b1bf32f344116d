"""An operator loses one of two volumes: a running product beside the storage of a database that is gone."""

import time
from pathlib import Path

import pytest

from tests.conftest import SPEC
from tests.products import free_port, start_product

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

OLD = "dst_01938c6e9f3a7c0e8d5a4b3c2d1e0f9a"
TABLE = b"a,label\n" + b"1,x\n2,y\n" * 20


def test_a_worker_beside_the_storage_of_a_lost_database_deletes_nothing(tmp_path: Path) -> None:
    """Uploads of all ages are whole after its sweep and a job; they are counted, and sending one again stores it."""
    folder = tmp_path / "data"
    storage = folder / "datasets"
    csv = {"Content-Type": "text/csv"}
    with start_product(folder, free_port()) as product:
        known = product.client.post("/v1/datasets", content=TABLE, headers=csv).raise_for_status().json()["id"]
    (storage / OLD).write_bytes(TABLE)
    for path in folder.glob("gradmill.db*"):
        path.unlink()
    with start_product(folder, free_port()) as product:
        job_id = product.post("/v1/jobs", SPEC).raise_for_status().json()["id"]
        assert product.wait(job_id)["status"] == "succeeded"
        # a worker sweeps as it comes up; this is long after
        time.sleep(1)
        assert sorted(path.name for path in storage.iterdir()) == sorted([OLD, known])
        assert product.get("/v1/system").json()["storage"] == {"unknown_objects": 2}
        again = product.client.post("/v1/datasets", content=TABLE, headers=csv).raise_for_status().json()["id"]
        assert {path.name: path.read_bytes() for path in storage.iterdir()} == dict.fromkeys((OLD, known, again), TABLE)
