"""A real nginx in front, as it comes: HTTP/1.0 to the service, answers buffered and compressed, bodies up to 1 MB."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.api_process import KEY, ApiProcess, api_process
from tests.conftest import missing
from tests.products import free_port, wait_for_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

READ_SECONDS = 2
"In nginx it is 60; the service's heartbeat, 15 s, is made shorter in the same proportion."
HEARTBEAT_SECONDS = 0.5
CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  gzip on;
  gzip_types *;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{api_port};
    }}
    location ~ /events$ {{
      proxy_pass http://127.0.0.1:{api_port};
      proxy_read_timeout {read_seconds}s;
    }}
  }}
}}
"""


@contextmanager
def nginx(api_port: int) -> Iterator[str]:
    """Run it in front of an API, and return its address."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        missing("nginx")
        raise AssertionError
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        # its processes have another user
        Path(folder).chmod(0o777)
        file = Path(folder) / "nginx.conf"
        file.write_text(CONFIGURATION.format(folder=folder, port=port, api_port=api_port, read_seconds=READ_SECONDS))
        process = subprocess.Popen([program, "-c", str(file), "-p", folder, "-e", f"{folder}/error.log"])
        try:
            wait_for_port(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    folder = tmp_path_factory.mktemp("nginx")
    with api_process(folder, GRADMILL_HEARTBEAT_SECONDS=str(HEARTBEAT_SECONDS)) as api:
        yield api


@pytest.fixture(scope="module")
def proxied(api: ApiProcess) -> Iterator[httpx2.Client]:
    with (
        nginx(api.port) as url,
        httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client,
    ):
        yield client


@pytest.mark.parametrize("path", ["/v2", "/healthz", "/v1/openapi.json", "/v1/jobs", "/v1/jobs/none", "/ui/login"])
def test_an_answer_is_the_same_through_it(api: ApiProcess, proxied: httpx2.Client, path: str) -> None:
    """Short, long, compressed, of the edge and of Flask, and a refusal."""
    direct, through = api.client.get(path), proxied.get(path)
    assert through.status_code == direct.status_code
    assert through.headers["content-type"] == direct.headers["content-type"]
    if path == "/ui/login":
        # each form has its own token
        assert "csrf_token" in through.text
    elif path == "/v1/jobs/none":
        assert through.json().items() >= {"status": 404, "title": direct.json()["title"]}.items()
    else:
        assert through.text == direct.text
    if path == "/v1/openapi.json":
        assert through.headers["content-encoding"] == "gzip"


def test_an_upload_passes_and_one_that_nginx_refuses_is_not_begun(proxied: httpx2.Client) -> None:
    """The usual limit of nginx is 1 MB: it refuses a longer body without asking the service."""
    row = b"1.5,2.5,0\n"
    whole = proxied.post("/v1/datasets", content=b"a,b,c\n" + row * 90_000, headers={"Content-Type": "text/csv"})
    assert (whole.status_code, whole.json()["rows"]) == (201, 90_000)
    longer = proxied.post("/v1/datasets", content=b"a,b,c\n" + row * 110_000, headers={"Content-Type": "text/csv"})
    assert longer.status_code == 413
    assert len(proxied.get("/v1/datasets").json()["data"]) == 1


def test_events_come_at_once_and_a_silent_stream_lives_past_its_timeout(
    api: ApiProcess, proxied: httpx2.Client
) -> None:
    """Neither the buffers nor the compression of nginx holds an event back; the heartbeat keeps the stream open."""
    job_id = api.submit()
    began = time.monotonic()
    with proxied.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}) as stream:
        lines = stream.iter_lines()
        assert next(line for line in lines if line.startswith("event:")) == "event: status"
        assert time.monotonic() - began < READ_SECONDS
        for _ in lines:
            if time.monotonic() - began > 2 * READ_SECONDS:
                break
        _cancel(api, job_id)
        cancelled = time.monotonic()
        assert any(line == "event: end" for line in lines)
        assert time.monotonic() - cancelled < READ_SECONDS


def test_a_request_that_waits_for_a_job_is_answered_when_it_ends(api: ApiProcess, proxied: httpx2.Client) -> None:
    """`Prefer: wait` of less than nginx's timeout."""
    job_id = api.submit()
    threading.Timer(READ_SECONDS / 4, _cancel, (api, job_id)).start()
    began = time.monotonic()
    answer = proxied.get(f"/v1/jobs/{job_id}", headers={"Prefer": f"wait={READ_SECONDS - 1}"})
    assert answer.json()["status"] == "cancelled"
    assert time.monotonic() - began < READ_SECONDS


def _cancel(api: ApiProcess, job_id: str) -> None:
    api.client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
