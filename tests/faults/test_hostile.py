"""Hostile files and raw HTTP against a running product: each is refused, and the service goes on as if nothing was."""

import re
import socket
from collections.abc import Iterator
from contextlib import suppress

import httpx2
import pytest

from tests.conftest import SPEC
from tests.faults.abuses import Abuse, abuses
from tests.faults.hostile_files import WHOLE, Sent, bombs, changed
from tests.faults.lengths import IS_LONG
from tests.faults.peaks import MIB, measured
from tests.products import Product, free_port, start_product

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CHANGED = 2_000 if IS_LONG else 90
"How many files are changed at random, besides the bombs."
EVERY = 1 if IS_LONG else 3
"Every third abuse of HTTP is tried in the short form."
PEAK_BYTES = 300 * MIB
NOT_OURS = {501, 505}
"A coding or a version that HTTP itself does not have: RFC 9112, section 6.1, and RFC 9110, section 15.6.6."


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("hostile") / "data"
    scratch = tmp_path_factory.mktemp("scratch")
    with start_product(folder, free_port(), TMPDIR=str(scratch), GRADMILL_WORKERS="1") as product:
        job_id = product.post("/v1/jobs", SPEC | {"model": "iris"}).raise_for_status().json()["id"]
        product.wait(job_id)
        for path, media_type, content in WHOLE.values():
            # what is loaded at first use is not a request's
            answer = product.client.post(path, content=content, headers={"Content-Type": media_type})
            assert answer.status_code < 300, (path, answer.text)
        yield product
        left = [path for path in scratch.rglob("*") if path.is_file()]
        assert left == []


def send(product: Product, sent: Sent) -> httpx2.Response:
    return product.client.post(sent.path, content=sent.content, headers={"Content-Type": sent.media_type}, timeout=120)


def test_each_bomb_is_refused_within_the_memory_of_a_request(product: Product) -> None:
    """A small file that claims or grows to a large size is a 4xx, and the API's peak stays below 300 MB above rest."""
    costs, checks = [], 0
    for sent in bombs():
        with measured(product) as peak:
            answer = send(product, sent)
        costs.append((peak.bytes // MIB, round(peak.slowest, 2), sent.name, sent.path, answer.status_code))
        assert 400 <= answer.status_code < 500, (sent.name, answer.text[:300])
        assert peak.bytes < PEAK_BYTES, costs[-1]
        checks += peak.checks
    assert checks > len(costs)
    print("largest:", sorted(costs)[-3:], "slowest health:", max(cost[1] for cost in costs))


def test_files_changed_at_random_are_never_an_internal_error(product: Product) -> None:
    """A changed file is read or refused; no answer is a 5xx, and the peak stays below 300 MB above rest."""
    statuses: dict[int, int] = {}
    with measured(product) as peak:
        for seed in range(CHANGED):
            sent = changed(seed)
            answer = send(product, sent)
            assert answer.status_code < 500, (sent.name, answer.text[:300])
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
    assert peak.bytes < PEAK_BYTES
    # the changes are neither all harmless nor all fatal
    assert statuses[422] > CHANGED // 20
    assert sum(count for status, count in statuses.items() if status < 300) > 0
    print("statuses:", statuses, "peak:", peak.bytes // MIB, "MiB, slowest health:", round(peak.slowest, 2))


def answered(product: Product, abuse: Abuse) -> bytes:
    """Return all that the server answers until it closes the connection."""
    with socket.create_connection(("127.0.0.1", product.port), timeout=20) as connection:
        with suppress(OSError):
            connection.sendall(abuse.sent)
            connection.shutdown(socket.SHUT_WR)
        parts = []
        with suppress(ConnectionResetError):
            while part := connection.recv(65536):
                parts.append(part)
    return b"".join(parts)


def test_abuses_of_http_are_refused_and_smuggle_nothing(product: Product) -> None:
    """Broken framing gets no 5xx, no part of a body is taken for a request, and the jobs are what they were."""
    jobs = product.get("/v1/jobs?limit=100").json()["data"]
    chosen = list(abuses(product.key))[::EVERY]
    assert len(chosen) >= (300 if IS_LONG else 150)
    refused = 0
    with measured(product) as peak:
        for abuse in chosen:
            answer = answered(product, abuse)
            statuses = {int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", answer)}
            refused += 400 in statuses
            assert max(statuses - NOT_OURS, default=0) < 500, (abuse.name, answer[:500])
            assert b"X-Request-Id: smuggled" not in answer, (abuse.name, answer[:500])
            assert b"Traceback" not in answer
    assert peak.bytes < PEAK_BYTES
    # most of them are malformed, and the rest is answered as if it were nothing strange
    assert refused > len(chosen) // 3
    assert [job["id"] for job in product.get("/v1/jobs?limit=100").json()["data"]] == [job["id"] for job in jobs]
    print("slowest health:", round(peak.slowest, 2), "peak:", peak.bytes // MIB)
