"""Fifty simulated workers on a PostgreSQL behind pgbouncer."""

from pathlib import Path

import pytest

from tests.faults.crowd import Taken, late_claims, run_crowd
from tests.faults.lengths import IS_LONG
from tests.faults.pgbouncer import pgbouncer

# apart from tests with a product, whose workers would take the jobs of this one's
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SECONDS = 600 if IS_LONG else 5


def test_fifty_workers_share_a_few_connections(postgresql_url: str, tmp_path: Path) -> None:
    """No error, no job twice, the oldest first: a few seconds here, ten minutes with `make faults`."""
    with pgbouncer(postgresql_url, size=20) as bouncer:
        print(run_crowd(bouncer.url, tmp_path, workers=50, seconds=SECONDS))


def test_a_claim_out_of_order_would_be_seen() -> None:
    """The check of the order finds a job that was taken after a younger one, and allows claims that overlap."""
    a, b = Taken("job_a", 0.0, 1.0), Taken("job_b", 0.5, 0.9)
    assert late_claims([a, b]) == []
    assert late_claims([Taken("job_a", 1.0, 2.0), b]) == ["job_a"]
