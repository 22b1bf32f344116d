"""A run that was killed and resumed has the same bits as one that was not: the short form of `make faults`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.kills import kill_loop
from tests.faults.lengths import DATABASES, WHOLE_WORKER
from tests.products import Product, free_port, start_product
from worker.records.sessions import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(params=DATABASES)
def product_and_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Product, Database]]:
    url = f"sqlite:///{tmp_path / 'data' / 'gradmill.db'}"
    options = {"GRADMILL_LEASE_SECONDS": "4"}
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
        options["GRADMILL_DATABASE_URL"] = url
    with start_product(tmp_path / "data", free_port(), **options) as product:
        database = Database(url)
        yield product, database
        database.close()


@pytest.mark.parametrize("whole_worker", WHOLE_WORKER)
def test_kill_9_at_random_moments_costs_no_bit(
    product_and_database: tuple[Product, Database], whole_worker: bool
) -> None:
    """Every epoch once, one end, and the curve and weights of a job that nobody disturbed."""
    # the supervisor waits longer each time before it starts its worker again
    cycles = 2 if whole_worker else 5
    tally = kill_loop(*product_and_database, cycles, whole_worker=whole_worker, seed=1)
    assert (tally.cycles, tally.wrong_bits) == (cycles, 0)
    print(sorted(round(seconds, 2) for seconds in tally.seconds))
    assert tally.jobs >= 1
