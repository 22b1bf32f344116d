"""How a process that ends is started again: one that the product needs, and one that it does not."""

import time
from pathlib import Path

import pytest

from service.up import children
from service.up.children import RESTARTS_LIMIT, Child
from worker.errors import StartError


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "BACK_OFF_SECONDS", 0.05)
    monkeypatch.setattr(children, "BACK_OFF_SECONDS_MOST", 0.2)


def child(folder: Path, *, is_needed: bool) -> Child:
    """A process that ends at once, each time."""
    return Child("worker", ["false"], {}, folder, is_needed=is_needed)


def test_a_process_that_is_not_needed_is_started_again_later_each_time(tmp_path: Path) -> None:
    """It reports each end once, with the seconds until the next start. They double up to a limit; it never gives up."""
    falling = child(tmp_path, is_needed=False)
    falling.start()
    told: list[str] = []
    until = time.monotonic() + 20
    while len(told) < RESTARTS_LIMIT + 2:
        assert time.monotonic() < until
        news = falling.keep_running()
        told += [] if news is None else [news]
        time.sleep(0.005)
    seconds = [news.split(" in ")[1].split(" s.")[0] for news in told]
    assert seconds == ["0.05", "0.1", "0.2", "0.2", "0.2", "0.2", "0.2"]
    falling.check()


def test_waiting_for_a_process_to_rest_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor looks after the other processes meanwhile: no look takes time."""
    monkeypatch.setattr(children, "BACK_OFF_SECONDS", 10.0)
    monkeypatch.setattr(children, "BACK_OFF_SECONDS_MOST", 10.0)
    falling = child(tmp_path, is_needed=False)
    falling.start()
    assert falling.process is not None
    falling.process.wait()
    began = time.monotonic()
    assert falling.keep_running() is not None
    assert falling.keep_running() is None
    assert time.monotonic() - began < 1


def test_a_needed_process_that_ends_again_and_again_stops_everything(tmp_path: Path) -> None:
    """The fifth end within a minute raises StartError, with the process's name."""
    falling = child(tmp_path, is_needed=True)
    falling.start()
    with pytest.raises(StartError, match="The worker failed 5 times within a minute"):
        look_after(falling)


def look_after(falling: Child) -> None:
    while True:
        falling.keep_running()
