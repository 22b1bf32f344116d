"""The one-machine mode's own broker."""

import socket
import threading
from pathlib import Path

import pytest

from service.up import broker
from service.up.broker import answers, wait_until_gone
from worker.errors import StartError


def test_a_socket_that_does_not_answer_is_asked_once(tmp_path: Path) -> None:
    """redis-py would ask eleven times, which took 2.4 s of each start."""
    path, asked = tmp_path / "s", []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(0.5)

        def hang_up() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except TimeoutError:
                    return
                asked.append(client)
                client.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert not answers(path)
        thread.join()
    assert len(asked) == 1


def test_a_server_that_is_asleep_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one on its files would be its ruin. A socket that nobody has open was left by one that was killed."""
    monkeypatch.setattr(broker, "START_SECONDS", 0.3)
    path = tmp_path / "s"
    wait_until_gone(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(StartError, match="still there"):
            wait_until_gone(path)
    wait_until_gone(path)
