"""How a process that ends is started again: one that the product needs, and one that it does not; and its log."""

import re
import time
from pathlib import Path

import pytest

from service.up import children, logs
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


def speaking(folder: Path, script: str) -> Child:
    """A process that writes to its log."""
    return Child("worker", ["sh", "-c", script], {}, folder)


def ended(process: Child) -> Child:
    process.start()
    assert process.process is not None
    process.process.wait()
    return process


def test_a_start_keeps_the_log_of_the_one_before(tmp_path: Path) -> None:
    """The next supervisor appends; the end of the log that it shows is of its own start."""
    ended(speaking(tmp_path, "echo first"))
    second = ended(speaking(tmp_path, "echo second"))
    assert (tmp_path / "worker.log").read_text() == "first\nsecond\n"
    assert second.tail() == "second"
    assert ended(speaking(tmp_path, "true")).tail() == ""


def test_a_log_past_its_limit_is_rotated_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three older files are kept, the newest first; the fourth is gone."""
    monkeypatch.setattr(logs, "BYTES_LIMIT", 3)
    for number in range(6):
        ended(speaking(tmp_path, f"echo {number}000"))
    names = ["worker.log", "worker.log.1", "worker.log.2", "worker.log.3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [(tmp_path / name).read_text() for name in names] == ["5000\n", "4000\n", "3000\n", "2000\n"]


def test_a_log_that_cant_be_copied_costs_no_older_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the older files stay as they are, however often it is tried."""
    monkeypatch.setattr(logs, "BYTES_LIMIT", 3)
    for number in range(3):
        ended(speaking(tmp_path, f"echo {number}000"))
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("service.up.logs.shutil.copyfileobj", full)
    for _ in range(3):
        logs.rotate(tmp_path / "worker.log")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_a_log_is_rotated_while_its_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process goes on in the emptied file; lines are in order, and none is there twice."""
    monkeypatch.setattr(logs, "BYTES_LIMIT", 10_000)
    monkeypatch.setattr(logs, "OLD_FILES", 50)
    lines = range(10_000, 30_000)
    some = "while [ $((n % 500)) -gt 0 ]; do echo line $n; n=$((n+1)); done"
    script = (
        f"n=10000; while [ $n -lt 30000 ]; do echo line $n; n=$((n+1)); {some}; sleep 0.01; done; "
        "while :; do sleep 0.1; echo end; done"
    )
    running = speaking(tmp_path, script)
    running.start()
    log = tmp_path / "worker.log"
    until = time.monotonic() + 60
    try:
        # said again and again, for one such line may be lost in a cut
        while not any("end\n" in path.read_text() for path in tmp_path.glob("worker.log*")):
            assert time.monotonic() < until
            assert running.keep_running() is None
    finally:
        running.ask_to_stop()
        running.wait_for_end(time.monotonic() + 5)
    files = sorted(tmp_path.glob("worker.log.*"), key=lambda path: -int(path.suffix[1:]))
    assert len(files) > 2
    # a line that was being written at the very moment of the cut may be lost or torn
    numbers = [int(n) for path in (*files, log) for n in re.findall(r"^line (\d{5})$", path.read_text(), re.MULTILINE)]
    assert numbers == sorted(set(numbers) & set(lines))
    assert len(numbers) > len(lines) / 2
