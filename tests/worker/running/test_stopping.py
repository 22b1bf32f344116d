"""When a run stops, and why: the policy of leases, a client's wish, a limit, a shutdown."""

import threading
from collections.abc import Callable

import pytest

from worker.running import stopping
from worker.running.stopping import Progress, Stopping
from worker.settings import Lease, Settings


class Clock:
    """A clock of the test's own, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stopping, "uptime", clock)
    return clock


@pytest.fixture
def run(clock: Clock, shutdown: threading.Event) -> Stopping:
    """The stopping of a run with a lease of 30 s that has just begun."""
    return Stopping(shutdown, Progress(), Lease(30))


@pytest.mark.parametrize("seconds", [1.0, 30.0, 3600.0])
def test_a_worker_renews_before_it_fences_and_fences_before_another_may_claim(seconds: float) -> None:
    """Two beats may fail before the fence, and a third of the lease is left after it."""
    lease = Settings(lease_seconds=seconds).lease
    assert lease.tick_seconds < lease.beat_seconds
    assert lease.beat_seconds + lease.tick_seconds < lease.fence_seconds
    assert lease.seconds - lease.fence_seconds == pytest.approx(seconds / 3)
    assert lease.rescue_seconds < lease.sleep_seconds < lease.seconds <= lease.silence_seconds


def test_a_run_that_is_not_renewed_stops_at_two_thirds_of_its_lease(run: Stopping, clock: Clock) -> None:
    """The fence counts from the last renewal, whatever else asks the run to stop."""
    clock.now += 19.9
    assert not run()
    run.renewed(clock.now)
    clock.now += 19.9
    assert run.reason is None
    clock.now += 0.2
    run.status_is("cancelling")
    assert run.reason == "lease_lost"


def test_a_lease_that_another_has_stops_the_run_at_once(run: Stopping) -> None:
    """No time has to pass."""
    run.lease_was_lost()
    assert run.reason == "lease_lost"


@pytest.mark.parametrize(
    ("status", "reason"), [("cancelling", "cancelling"), ("pausing", "pausing"), ("running", None)]
)
def test_what_a_client_asks_for_stops_the_run(run: Stopping, status: str, reason: str | None) -> None:
    """The status in the record says so."""
    run.status_is(status)
    assert run.reason == reason


def test_a_clients_wish_goes_before_a_shutdown_and_that_before_a_limit(
    run: Stopping, clock: Clock, shutdown: threading.Event
) -> None:
    """A job that is both cancelled and released is cancelled."""
    run.limit(max_seconds=10, checkpoint_seconds=1)
    clock.now += 11
    assert run.reason == "timed_out"
    shutdown.set()
    assert run.reason == "shutdown"
    run.status_is("pausing")
    assert run.reason == "pausing"


def test_a_slow_checkpoint_is_followed_by_a_longer_pause(run: Stopping, clock: Clock) -> None:
    """One that took a second is not followed by another within forty."""
    run.limit(max_seconds=1e9, checkpoint_seconds=5)
    clock.now += 6
    assert run.reason == "checkpoint"
    run.checkpoint_taken(1.0)
    for _ in range(4):
        clock.now += 9
        run.renewed(clock.now)
        assert run.reason is None
    clock.now += 5
    assert run.reason == "checkpoint"


def test_each_question_is_a_step(clock: Clock, shutdown: threading.Event) -> None:
    """The worker that watches the process sees it move."""
    progress = Progress()
    ask: Callable[[], bool] = Stopping(shutdown, progress, Lease(30))
    for _ in range(3):
        ask()
    assert progress.steps == 3
