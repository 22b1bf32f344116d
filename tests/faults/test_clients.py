"""Clients that vanish, lie, repeat themselves or never read; and an API that dies while it serves them."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx2
import psutil
import pytest
from sqlalchemy import func, select

from tests.faults.invariants import assert_invariants
from tests.faults.kills import QUICK, SPEC
from tests.faults.proxy import proxied
from tests.products import Product, command_line, free_port, start_product
from worker.records.sessions import Database
from worker.records.tables import Dataset, Job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with start_product(tmp_path_factory.mktemp("clients") / "data", free_port()) as product:
        yield product


@pytest.fixture
def database(product: Product) -> Iterator[Database]:
    database = Database(f"sqlite:///{product.folder / 'gradmill.db'}")
    yield database
    database.close()


def serving_process(product: Product) -> int:
    """Wait for the API's process, which the supervisor replaces when it dies, and return its pid."""
    found: list[int] = []

    def look() -> list[int]:
        found[:] = [pid for pid in product.processes() if b"service.edge" in command_line(pid)]
        return found

    until(look)
    return found[0]


def count(database: Database, table: Any) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def until(what: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def answers(product: Product) -> bool:
    try:
        return product.get("/healthz", timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


def head(product: Product, length: int) -> bytes:
    return (
        f"POST /v1/datasets?name=x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {product.key}\r\n"
        f"Content-Type: text/csv\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def test_a_client_that_dies_in_the_middle_of_an_upload_leaves_nothing(product: Product, database: Database) -> None:
    """Less arrives than its Content-Length said: no row and no bytes are stored, and the next upload works."""
    before = count(database, Dataset)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", product.port), timeout=5) as connection:
            connection.sendall(head(product, 1_000_000) + b"a,label\n1,x\n" * 100)
    table = "a,label\n" + "1,x\n2,y\n" * 20
    uploaded = product.client.post("/v1/datasets", content=table, headers={"Content-Type": "text/csv"})
    assert uploaded.status_code == 201
    assert count(database, Dataset) == before + 1
    assert [path.name for path in (product.folder / "datasets").iterdir()] == [uploaded.json()["id"]]


def test_an_api_that_is_killed_in_the_middle_of_an_upload_shows_no_half_of_it(
    product: Product, database: Database
) -> None:
    """kill -9 of the process that reads it: it is started again, and the same request works."""
    before = count(database, Dataset)
    table = b"b,label\n" + b"1,x\n2,y\n" * 20_000
    with socket.create_connection(("127.0.0.1", product.port), timeout=5) as connection:
        connection.sendall(head(product, len(table)) + table[: len(table) // 2])
        time.sleep(0.2)
        os.kill(serving_process(product), signal.SIGKILL)
    until(lambda: answers(product))
    assert count(database, Dataset) == before
    again = product.client.post("/v1/datasets", content=table, headers={"Content-Type": "text/csv"})
    assert again.status_code == 201


def test_a_stream_is_taken_up_again_after_each_death_of_the_api(product: Product, database: Database) -> None:
    """The client goes on after the last number that it saw: nothing is missed, and nothing comes twice."""
    job_id = product.post("/v1/jobs", SPEC).raise_for_status().json()["id"]
    seen: list[int] = []
    deaths = 0
    while True:
        headers = {"Last-Event-ID": str(seen[-1])} if seen else {}
        try:
            with product.client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers, timeout=10) as response:
                if response.status_code == 204:
                    break
                for line in response.iter_lines():
                    if line.startswith("id: "):
                        seen.append(int(line.removeprefix("id: ")))
                    if deaths < 3 and len(seen) > 60 * (deaths + 1):
                        deaths += 1
                        os.kill(serving_process(product), signal.SIGKILL)
        except httpx2.HTTPError:
            until(lambda: answers(product))
    assert deaths == 3
    assert product.wait(job_id)["status"] == "succeeded"
    assert_invariants(database, [job_id])
    with database.reading() as session:
        assert seen == list(range(1, session.get_one(Job, job_id).seq + 1))


def test_watchers_that_never_read_cost_little_and_hold_up_nobody(product: Product) -> None:
    """A hundred clients with small buffers get a running job's events; once they are gone their places are free."""
    server = psutil.Process(serving_process(product))
    job_id = product.post("/v1/jobs", SPEC | {"training": SPEC["training"] | {"epochs": 200_000}}).json()["id"]
    product.wait(job_id, "running")
    request = f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {product.key}\r\n\r\n"
    with ExitStack() as idle:
        for _ in range(100):
            connection = idle.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            connection.connect(("127.0.0.1", product.port))
            connection.sendall(request.encode())
        # later events must not pile up, which would take 50 MiB
        until_epoch(product, job_id, 300)
        before = server.memory_info().rss
        until_epoch(product, job_id, 700)
        assert server.memory_info().rss - before < 30 * MEBIBYTE
    product.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    assert product.wait(job_id)["status"] == "cancelled"
    until(lambda: server.num_fds() < 60)


def until_epoch(product: Product, job_id: str, more: int) -> None:
    """Wait until the job has recorded this many more epochs."""
    epoch = product.get(f"/v1/jobs/{job_id}").json()["progress"]["epoch"]
    until(lambda: product.get(f"/v1/jobs/{job_id}").json()["progress"]["epoch"] > epoch + more, seconds=90)


def test_a_repeat_whose_first_answer_was_lost_makes_no_second_job(product: Product, database: Database) -> None:
    """The answer is lost after the commit; the same request with its key gets it again, marked as a replay."""
    before = count(database, Job)
    headers = {"Authorization": f"Bearer {product.key}", "Idempotency-Key": "lost-answer"}
    with proxied(product.port) as proxy, httpx2.Client(headers=headers) as client:
        url = f"http://127.0.0.1:{proxy.port}/v1/jobs"
        proxy.set("half_open")
        with pytest.raises(httpx2.TimeoutException):
            client.post(url, json=QUICK, timeout=2)
        until(lambda: count(database, Job) == before + 1)
        proxy.set("pass")
        repeated = client.post(url, json=QUICK, timeout=10)
    assert (repeated.status_code, repeated.headers["Idempotency-Replayed"]) == (202, "true")
    assert count(database, Job) == before + 1


def test_the_same_request_thirty_two_times_at_once_makes_one_job(product: Product, database: Database) -> None:
    """Each gets that job's id, or a 409 while the first is in flight; another body under the key is refused."""
    before = count(database, Job)
    headers = {"Idempotency-Key": "at-once"}

    def post(_: int) -> httpx2.Response:
        return product.post("/v1/jobs", QUICK, headers=headers)

    with ThreadPoolExecutor(32) as threads:
        responses = list(threads.map(post, range(32)))
    assert {response.status_code for response in responses} <= {202, 409}
    assert len({response.json()["id"] for response in responses if response.status_code == 202}) == 1
    assert count(database, Job) == before + 1
    assert product.post("/v1/jobs", SPEC, headers=headers).status_code == 422
