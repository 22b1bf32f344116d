"""Messages that come twice, a hundred times, in any order, for jobs that are gone, or from somebody else."""

import base64
import json
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.faults.kills import QUICK
from tests.faults.workers import House
from worker.broker.app import QUEUE, RUN
from worker.broker.doorbell import Doorbell
from worker.records.identifiers import DEFAULT_PROJECT, new_id
from worker.records.jobs import delete_job
from worker.records.sessions import Database
from worker.records.transitions import change_status
from worker.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def house(sqlite_url: str, redis_url: str, tmp_path: Path) -> Iterator[House]:
    settings = Settings(data_dir=tmp_path, database_url=sqlite_url, redis_url=redis_url, lease_seconds=2)
    database = Database(sqlite_url)
    yield House(database, settings, tmp_path)
    database.close()


def test_a_message_that_comes_a_hundred_times_starts_one_attempt(house: House) -> None:
    """They come in any order, among others for a job that was deleted and one that never existed."""
    deleted = house.submit(QUICK)
    house.database.write(lambda session: change_status(session, DEFAULT_PROJECT, deleted, "cancel"))
    house.database.write(lambda session: delete_job(session, DEFAULT_PROJECT, deleted))
    with house.worker(processes=2):
        expected = house.result(house.submit(QUICK))
        job_ids = [house.submit(QUICK) for _ in range(3)]
        messages = [*job_ids, deleted, new_id("job")] * 100
        random.Random(1).shuffle(messages)
        doorbell = Doorbell(house.settings)
        for job_id in messages:
            assert doorbell.ring(job_id)
        for job_id in job_ids:
            assert house.result(job_id) == expected
            assert house.job(job_id).attempt == 1
        house.wait_until(lambda: doorbell.waiting() == 0)
        doorbell.close()


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_what_others_put_in_the_queue_harms_nothing(house: House, redis_url: str) -> None:
    """Not JSON, not a message, another task, a pickle, odd arguments: jobs run, and nothing else does."""
    harm = house.folder / "harm"
    body = [[["x"], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]]
    hostile = [
        b"\xff\xfe",
        b"not json",
        b"[]",
        b"{}",
        b'"' + b"x" * 1_000_000,
        message(body, task="os.system"),
        message(body, encoding="pickle", content=pickle.dumps(Bomb(harm))),
        message([[{"a": [1]}], {}, {}]),
        message([["../../etc/passwd"], {}, {}]),
        message([[None], {"job_id": "job_x"}, {}]),
        message(["x" * 100_000, {}, {}]),
        # kombu can read these and Celery can't: each would hold one of the worker's places
        *[message(None), message(5), message(body).replace(b'"id": "1", ', b"")] * 3,
    ]
    with house.worker() as worker:
        expected = house.result(house.submit(QUICK))
        client = redis.Redis.from_url(redis_url)
        for content in hostile:
            client.lpush(QUEUE, content)
        assert house.result(house.submit(QUICK)) == expected
        house.wait_until(lambda: client.llen(QUEUE) == 0)
        assert house.result(house.submit(QUICK)) == expected
        assert worker.process.poll() is None
        client.close()
    assert not harm.exists()


def message(body: Any, *, task: str = RUN, encoding: str = "json", content: bytes | None = None) -> bytes:
    """Return a message as kombu puts it into the list."""
    content = json.dumps(body).encode() if content is None else content
    return json.dumps(
        {
            "body": base64.b64encode(content).decode(),
            "content-encoding": "utf-8" if encoding == "json" else "binary",
            "content-type": f"application/{'json' if encoding == 'json' else 'x-python-serialize'}",
            "headers": {"lang": "py", "task": task, "id": "1", "argsrepr": "", "kwargsrepr": "", "origin": "x"},
            "properties": {
                "correlation_id": "1",
                "reply_to": "1",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": QUEUE},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": new_id("job"),
            },
        }
    ).encode()
