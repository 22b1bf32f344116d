"""Everything is lost, and restored from a backup that was made while jobs ran: they end with the same bits."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.service import postgresql
from tests.faults.backups import CSV, backup_loop
from tests.faults.invariants import assert_invariants, result_of
from tests.faults.kills import QUICK, SPEC, golden
from tests.faults.lengths import IS_LONG
from tests.faults.test_workers import house  # noqa: F401 - a fixture
from tests.faults.workers import House
from tests.products import Product, free_port
from worker.records.sessions import Database

MOVES = [("sqlite", "postgresql"), *([("sqlite", "sqlite"), ("postgresql", "postgresql")] if IS_LONG else [])]
CYCLES = 100 if IS_LONG else 1

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + 30 * CYCLES)]

# long enough that it still runs when the backup has been made
LONG = SPEC | {"training": SPEC["training"] | {"epochs": 800}}
ROWS = {"rows": [{"x": 0.5}, {"x": 4321.0}]}


@contextmanager
def machine(kind: str, folder: Path) -> Iterator[tuple[Product, Database, dict[str, str]]]:
    """A product that is not started yet, its database, and its settings for commands."""
    with ExitStack() as opened:
        options = {"GRADMILL_LEASE_SECONDS": "4", "GRADMILL_WORKERS": "1"}
        url = f"sqlite:///{folder / 'gradmill.db'}"
        if kind == "postgresql":
            url = options["GRADMILL_DATABASE_URL"] = opened.enter_context(postgresql())
            url = url.replace("postgresql://", "postgresql+psycopg://")
        product = Product(folder, free_port(), **options)
        database = Database(url)
        opened.callback(database.close)
        yield product, database, options | {"GRADMILL_DATA_DIR": str(folder)}


def command(environment: dict[str, str], *words: str) -> str:
    """Run `gradmill db`, which must succeed; what it printed."""
    gradmill = str(Path(sys.executable).parent / "gradmill")
    done = subprocess.run(
        [gradmill, "db", *words], env=os.environ | environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def uploaded_and_trained(product: Product) -> tuple[str, str]:
    """The ids of an uploaded table and of a finished job that read it."""
    upload = product.post("/v1/datasets?name=t", content=CSV, headers={"Content-Type": "text/csv"}).raise_for_status()
    spec = {
        "dataset": {"source": "stored", "id": upload.json()["id"]},
        "target": "label",
        "model": "mine",
        "network": {"layers": [{"type": "dense", "units": 4}]},
        "training": {"epochs": 2},
    }
    job = product.wait(product.post("/v1/jobs", spec).raise_for_status().json()["id"])
    assert job["status"] == "succeeded", job["error"]
    return upload.json()["id"], job["id"]


def predictions(product: Product) -> Any:
    return product.post("/v1/models/mine/predict", ROWS).raise_for_status().json()["predictions"]


@pytest.mark.parametrize(("old", "new"), MOVES)
def test_what_ran_on_a_lost_machine_ends_on_another(tmp_path: Path, old: str, new: str) -> None:
    """Jobs that ran and waited end with the bits of an undisturbed run; uploads are whole; predictions are the same."""
    backup = str(tmp_path / "backup")
    with machine(old, tmp_path / "old") as (product, database, settings):
        product.start()
        expected = golden(product, database, LONG)
        upload, finished = uploaded_and_trained(product)
        answered = predictions(product)
        running, waiting = (product.post("/v1/jobs", spec).raise_for_status().json()["id"] for spec in (LONG, QUICK))
        while product.get(f"/v1/jobs/{running}").json()["progress"]["epoch"] < 20:
            time.sleep(0.05)
        assert command(settings, "backup", backup).startswith("Backed up ")
        for pid in product.processes():
            os.kill(pid, signal.SIGKILL)
        product.client.close()
        product.wait_for_end()
    with machine(new, tmp_path / "new") as (product, database, settings):
        assert "Checked" in command(settings, "check", "--backup", backup)
        assert "released: 1." in command(settings, "restore", backup)
        product.start()
        try:
            assert [product.wait(job_id, timeout=120)["status"] for job_id in (running, waiting)] == ["succeeded"] * 2
            assert result_of(database, running) == expected
            assert product.get(f"/v1/jobs/{running}").json()["attempt"] == 2
            assert (tmp_path / "new" / "datasets" / upload).read_bytes() == CSV
            assert predictions(product) == answered
            assert_invariants(database, [running, waiting, finished])
            assert ": no faults." in command(settings, "check")
        finally:
            product.stop()


def test_a_record_that_is_lost_and_restored_again_and_again_loses_nothing(house: House) -> None:  # noqa: F811
    """At random moments; the short form of `python -m tests.faults backup`."""
    tally = backup_loop(house, CYCLES)
    assert (tally.cycles, tally.jobs, tally.wrong_bits) == (CYCLES, CYCLES, 0)
