"""A full disk: nothing is corrupted, and jobs go on with the same bits when there is space again."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.faults.invariants import assert_invariants, result_of
from tests.faults.kills import QUICK, SPEC, golden
from tests.products import Product, free_port, start_product
from worker.records.sessions import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DISK_MEGABYTES = 64


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of the test's own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode != 0:
        missing("the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def product(disk: Path) -> Iterator[Product]:
    with start_product(disk / "data", free_port(), GRADMILL_LEASE_SECONDS="2") as product:
        yield product


def fill(disk: Path) -> Path:
    """Write a file that takes all space that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**20, 4096):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    return ballast


def test_a_full_disk_delays_jobs_and_corrupts_nothing(disk: Path, product: Product) -> None:
    """It is full for longer than the lease while a job trains; then there is space again. Uploads get 507 meanwhile."""
    path = product.folder / "gradmill.db"
    database = Database(f"sqlite:///{path}")
    expected = golden(product, database)
    table = "a,label\n" + "1.5,x\n2.5,y\n" * 20_000
    job_id = product.post("/v1/jobs", SPEC).raise_for_status().json()["id"]
    product.wait(job_id, "running")
    ballast = fill(disk)
    statuses = set()
    until = time.monotonic() + 6
    while time.monotonic() < until:
        uploaded = product.client.post("/v1/datasets", content=table, headers={"Content-Type": "text/csv"})
        submitted = product.post("/v1/jobs", QUICK)
        assert product.get(f"/v1/jobs/{job_id}").status_code == 200
        statuses |= {uploaded.status_code, submitted.status_code}
        assert "Retry-After" in uploaded.headers
    # a small write may still fit; a table does not
    assert 507 in statuses
    assert statuses <= {202, 503, 507}
    assert list((product.folder / "datasets").rglob("*")) == []
    ballast.unlink()
    assert product.wait(job_id, timeout=90)["status"] == "succeeded"
    assert result_of(database, job_id) == expected
    later = product.post("/v1/jobs", SPEC).raise_for_status().json()["id"]
    assert product.wait(later)["status"] == "succeeded"
    assert_invariants(database, [job_id, later])
    database.close()
