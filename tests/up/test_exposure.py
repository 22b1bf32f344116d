"""What refuses to start where strangers could come in: a short key beyond loopback, and an open broker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.settings import ServiceSettings
from service.starting import check_exposure
from worker.broker.exposure import check_broker
from worker.errors import StartError
from worker.settings import Settings

GRADMILL = str(Path(sys.executable).parent / "gradmill")
SERVER = [sys.executable, "-m", "service.edge.server"]
CELERY = [sys.executable, "-m", "celery", "-A", "worker.tasks", "worker"]
SHORT, LONG = "k" * 31, "k" * 32
OPEN_REDIS = "redis://redis:6379/0"


@pytest.mark.parametrize(
    ("host", "key", "is_refused"),
    [
        ("0.0.0.0", SHORT, True),
        ("::", SHORT, True),
        ("", SHORT, True),
        ("10.0.0.1", "", True),
        ("localhost.example", SHORT, True),
        ("0.0.0.0", LONG, False),
        ("127.0.0.1", SHORT, False),
        ("127.8.0.1", SHORT, False),
        ("LOCALHOST", SHORT, False),
        ("[::1]", SHORT, False),
    ],
)
def test_a_short_key_is_for_loopback_only(host: str, key: str, is_refused: bool) -> None:
    """Beyond it a key has at least 32 characters."""
    settings = ServiceSettings(host=host, api_key=SecretStr(key))
    if not is_refused:
        check_exposure(settings)
        return
    with pytest.raises(StartError, match="GRADMILL_API_KEY must have at least 32 characters") as caught:
        check_exposure(settings)
    assert SHORT not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "is_refused"),
    [
        (OPEN_REDIS, True),
        ("redis://user@10.0.0.1", True),
        ("rediss://redis.example:6380", True),
        ("redis://:@redis", True),
        ("redis://:secret@redis:6379/0", False),
        ("redis://redis:6379/0?password=secret", False),
        ("rediss://redis.example?ssl_certfile=/run/client.pem", False),
        ("redis://127.0.0.1:6379/0", False),
        ("redis://LOCALHOST", False),
        ("redis://[::1]:6379", False),
        ("redis://", False),
        ("unix:///run/valkey.sock", False),
        ("", False),
    ],
)
def test_an_open_broker_of_another_machine_is_refused(url: str, is_refused: bool) -> None:
    """It has a password or a client's certificate, or it is on this machine, or an operator answers for it."""
    settings = Settings(redis_url=url)
    if is_refused:
        with pytest.raises(StartError, match="GRADMILL_REDIS_URL"):
            check_broker(settings)
    else:
        check_broker(settings)
    check_broker(settings.model_copy(update={"allow_open_redis": True}))


def refusal(command: list[str], folder: Path, **environment: str) -> str:
    """What a command that exits with code 1 says."""
    own = {"GRADMILL_DATA_DIR": str(folder), "GRADMILL_API_KEY": SHORT, "GRADMILL_REDIS_URL": "unix:///nowhere"}
    finished = subprocess.run(
        command, env=os.environ | own | environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert finished.returncode == 1, finished.stderr
    return finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [[GRADMILL, "up"], [GRADMILL, "api"], SERVER], ids=["up", "api", "server"])
def test_every_way_to_start_an_api_refuses_in_one_line(command: list[str], tmp_path: Path) -> None:
    """A short key on all addresses, and an open broker on loopback: exit code 1, and what to do."""
    said = refusal(command, tmp_path, GRADMILL_HOST="0.0.0.0")
    assert (said.count("\n"), "openssl rand -hex 24" in said) == (1, True)
    said = refusal(command, tmp_path, GRADMILL_REDIS_URL=OPEN_REDIS)
    assert (said.count("\n"), "give it a password" in said) == (1, True)


@pytest.mark.slow
def test_every_way_to_start_a_worker_refuses_in_one_line(tmp_path: Path) -> None:
    """An open broker: strangers could write to its queue. Celery's own command logs the same."""
    said = refusal([GRADMILL, "worker"], tmp_path, GRADMILL_REDIS_URL=OPEN_REDIS)
    assert (said.count("\n"), "give it a password" in said) == (1, True)
    assert "give it a password" in refusal(CELERY, tmp_path, GRADMILL_REDIS_URL=OPEN_REDIS)
