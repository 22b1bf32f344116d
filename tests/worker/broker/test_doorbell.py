"""The doorbell and rescue, on a real Valkey."""

import threading
import time
from collections.abc import Callable

import redis
from sqlalchemy import update

from worker.broker.app import QUEUE, broker_url
from worker.broker.doorbell import CHANNEL, Doorbell
from worker.records.clock import seconds_from_now
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.jobs import get_job
from worker.records.lease import Claim
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.tables import Job
from worker.rescue import rescue_expired, ring_undelivered
from worker.settings import Settings


def doorbell_of(redis_url: str) -> Doorbell:
    doorbell = Doorbell(Settings(redis_url=redis_url))
    doorbell._redis.flushall()
    return doorbell


def test_a_ring_puts_the_jobs_id_in_the_queue_and_nothing_else(redis_url: str) -> None:
    """One ring is one message, for the one task."""
    doorbell = doorbell_of(redis_url)
    assert doorbell.ring("job_1")
    assert doorbell.waiting() == 1
    message = doorbell._redis.lindex(QUEUE, 0)
    assert b'"gradmill.run"' in message
    doorbell.close()


def test_an_announcement_reaches_a_subscriber(redis_url: str) -> None:
    """A client that listens on the channel gets the job's id."""
    doorbell = doorbell_of(redis_url)
    subscription = redis.Redis.from_url(redis_url).pubsub(ignore_subscribe_messages=True)
    subscription.subscribe(CHANNEL)
    subscription.get_message(timeout=1)
    doorbell.announce("job_1")
    message = subscription.get_message(timeout=2)
    assert message is not None
    assert message["data"] == b"job_1"
    subscription.close()
    doorbell.close()


def test_a_broker_that_is_away_costs_little_and_raises_nothing() -> None:
    """With a refused connection ringing and announcing return within a second, and raise nothing."""
    doorbell = Doorbell(Settings(redis_url="redis://127.0.0.1:9/0"))
    began = time.monotonic()
    assert not doorbell.ring("job_1")
    for _ in range(100):
        doorbell.announce("job_1")
    assert doorbell.waiting() is None
    assert time.monotonic() - began < 2
    doorbell.close()


def test_a_socket_is_spelled_as_celery_wants_it() -> None:
    """A unix socket becomes redis+socket://; other URLs stay as they are."""
    assert broker_url("unix:///a/b.sock") == "redis+socket:///a/b.sock"
    assert broker_url("rediss://h:1/0") == "rediss://h:1/0"


def test_only_lost_messages_are_rung_again(
    database: Database, submit: Callable[..., Snapshot], redis_url: str, monkeypatch: object
) -> None:
    """Three jobs wait and one message is left: two are rung for. A queue that is only long is left alone."""
    doorbell = doorbell_of(redis_url)
    ids = [submit()["id"] for _ in range(3)]
    assert ring_undelivered(database, doorbell) == 0
    time.sleep(2.1)
    doorbell.ring(ids[2])
    assert ring_undelivered(database, doorbell) == 2
    assert doorbell.waiting() == 3
    assert ring_undelivered(database, doorbell) == 0
    doorbell.close()


def test_workers_that_ring_again_at_once_make_no_more_messages_than_rows_that_wait(
    database: Database, submit: Callable[..., Snapshot], redis_url: str
) -> None:
    """Every message of 60 jobs is lost, and eight workers notice at the same moment: 60 messages, not 480."""
    doorbell = doorbell_of(redis_url)
    for _ in range(60):
        submit()
    time.sleep(1.1)
    together = threading.Barrier(8)

    def look() -> None:
        own = Doorbell(Settings(redis_url=redis_url))
        together.wait()
        for _ in range(3):
            ring_undelivered(database, own)
        own.close()

    workers = [threading.Thread(target=look) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert doorbell.waiting() == 60
    doorbell.close()


def test_a_row_that_rests_is_not_rung_for(database: Database, submit: Callable[..., Snapshot], redis_url: str) -> None:
    """Three jobs rest until later and one waits, whose message is in the queue: nothing is missing."""
    doorbell = doorbell_of(redis_url)
    resting = [submit()["id"] for _ in range(3)]
    database.write(
        lambda session: session.execute(
            update(Job).where(Job.id.in_(resting)).values(dispatched_at=seconds_from_now(60))
        )
    )
    doorbell.ring(submit()["id"])
    time.sleep(1.1)
    assert ring_undelivered(database, doorbell) == 0
    assert doorbell.waiting() == 1
    doorbell.close()


def test_an_expired_lease_is_freed_and_rung(database: Database, claimed: Callable[..., Claim], redis_url: str) -> None:
    """Each job whose lease has run out is queued and rung for; one whose lease has not is left alone."""
    doorbell = doorbell_of(redis_url)
    claims = [claimed(lease_seconds=0.05) for _ in range(3)]
    alive = claimed()
    time.sleep(0.1)
    assert rescue_expired(database, doorbell) == sorted(claim.job_id for claim in claims)
    assert doorbell.waiting() == 3
    with database.reading() as session:
        assert get_job(session, DEFAULT_PROJECT, alive.job_id).status == "running"
    doorbell.close()
