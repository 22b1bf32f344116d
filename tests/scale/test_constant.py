"""Every statement that is repeated costs the same in a large database as in a small one."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.settings import ServiceSettings
from tests.scale.filling import multiply
from tests.scale.meter import Meter
from tests.scale.touring import Tour
from tests.service.conftest import KEY, serving
from worker.records.jobs import LOOKED_AT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SMALL = 1000
LARGE = 1_000_000 if os.environ.get("GRADMILL_TEST_LONG") else 100_000
RATIO = 3
# less than this is no sign of anything: an index of a large table is one or two levels higher
NEGLIGIBLE = {"buffers": 20, "rows": 20, "results": 20, "steps": 2000}
# what is bounded by a limit that few rows do not reach: part of a statement -> the most that it may touch
LIMITED = {"FROM job_tags": 5 * LOOKED_AT}
# nor is this for each row that a statement finds: a small table is read at once, a large one row by row
FOR_EACH_RESULT = 4


def negligible(key: tuple[str, str, str], costs: dict[tuple[str, str, str], int]) -> int:
    step, statement, unit = key
    for part, most in LIMITED.items():
        if part in statement and unit != "steps":
            return most // RATIO
    return NEGLIGIBLE[unit] + FOR_EACH_RESULT * costs.get((step, statement, "results"), 0)


def toured(url: str, redis_url: str, folder: Path, rows: int) -> Meter:
    """Fill a database, take the tour, and return what it cost."""
    settings = ServiceSettings(
        data_dir=folder, database_url=url, redis_url=redis_url, api_key=SecretStr(KEY), heartbeat_seconds=0.2
    )
    meter = Meter()
    with serving(settings) as (app, client, parts):
        tour = Tour(app, client, parts, meter)
        tour.seed()
        counts = multiply(parts.database, rows)
        print(f"{rows}: {counts}")
        tour.settle()
        with meter.watching(parts.database.engine):
            tour.take()
        assert tour.unvisited() == set()
    return meter


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_is_repeated_costs_the_same(
    kind: str, request: pytest.FixtureRequest, redis_url: str, tmp_path: Path
) -> None:
    """No statement touches three times as many buffers or rows, or takes three times as many steps."""
    meters = []
    for rows in (SMALL, LARGE):
        url = request.getfixturevalue(f"fresh_{kind}")()
        folder = tmp_path / f"{kind}{rows}"
        folder.mkdir()
        meters.append(toured(url, redis_url, folder, rows))
    small, large = (meter.costs for meter in meters)
    assert len(large) > 200
    dearer = {
        key: (small.get(key, 0), cost)
        for key, cost in large.items()
        if cost > RATIO * max(small.get(key, 0), negligible(key, small))
    }
    assert not dearer, "\n".join(f"{before} -> {after}: {key}" for key, (before, after) in dearer.items())
