"""Bodies past the limit, cut short or badly framed, sent by a raw socket to a running product on every route."""

import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import func, select

from service.app import all_operations
from tests.conftest import SPEC
from tests.products import Product, free_port, start_product
from worker.records.sessions import Database
from worker.records.tables import Blob, Dataset, Job, ModelVersion, Prediction

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LIMIT = 100_000
SETTING = "GRADMILL_BODY_BYTES_LIMIT"
CSV = "text/csv"
JSON = "application/json"
FORM = "multipart/form-data; boundary=xx"
PART = b'--xx\r\nContent-Disposition: form-data; name="file"; filename="t"\r\n\r\n'
ROWS = b"1,x\n2,y\n"

# beyond these, a cut body would pass for a whole one: white space after JSON, rows of CSV, and what follows a form
BEGINNINGS = {
    JSON: (json.dumps(SPEC).encode(), b" "),
    CSV: (b"a,label\n", ROWS),
    FORM: (PART + b"a,label\n" + ROWS * 20 + b"\r\n--xx--\r\n", b" "),
    "multipart/form-data; boundary=xx; in the file": (PART + b"a,label\n", ROWS),
    "application/octet-stream": (b"", b"\0"),
    "application/x-npy": (b"", b"\0"),
    "application/vnd.apache.arrow.stream": (b"", b"\0"),
}
ROUTES = [
    (known.method, known.path, sent)
    for known in all_operations()
    if known.body or known.accepts
    for kind in known.accepts or (JSON,)
    for sent in BEGINNINGS
    if sent.split(";")[0] == kind
]


class Answered(NamedTuple):
    status: int
    media_type: str
    text: str


class Given(NamedTuple):
    """A product with a small limit, a version of a model, and the id of its job."""

    product: Product
    job_id: str


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    folder = tmp_path_factory.mktemp("bodies") / "data"
    with start_product(folder, free_port(), GRADMILL_BODY_BYTES_LIMIT=str(LIMIT)) as product:
        job_id = product.post("/v1/jobs", SPEC | {"model": "iris"}).raise_for_status().json()["id"]
        product.wait(job_id)
        product.client.put("/v1/models/iris/aliases/best", json={"version": 1}).raise_for_status()
        yield Given(product, job_id)


def stored(product: Product) -> list[Any]:
    """Return how many rows there are of what a body can make, and the objects of the storage."""
    database = Database(f"sqlite:///{product.folder / 'gradmill.db'}")
    with database.reading() as session:
        tables = (Dataset, Job, ModelVersion, Prediction, Blob)
        counts = [session.scalar(select(func.count()).select_from(table)) for table in tables]
    database.close()
    folder = Path(product.folder) / "datasets"
    return counts + sorted(path.name for path in folder.iterdir()) if folder.exists() else counts


def send(product: Product, method: str, path: str, content_type: str, framing: str, body: bytes) -> Answered | None:
    """Send these bytes as they are, then end the sending side. Return None if the connection ends without an answer."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {product.key}\r\n"
        f"Connection: close\r\nContent-Type: {content_type}\r\n{framing}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", product.port), timeout=30) as connection:
        with suppress(OSError):
            connection.sendall(head.encode() + body)
            connection.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(connection)
        try:
            response.begin()
        except http.client.RemoteDisconnected:
            return None
        media_type = response.getheader("Content-Type") or ""
        return Answered(response.status, media_type, response.read().decode())


def chunked(body: bytes, size: int = 8192) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def of_length(content_type: str, length: int) -> bytes:
    beginning, more = BEGINNINGS[content_type]
    return (beginning + more * (length // len(more)))[:length]


def filled(path: str, given: Given) -> str:
    """Return the path with the names of what exists."""
    known = {"job_id": given.job_id, "name": "iris", "version": "1", "alias": "best"}
    path = re.sub(r"<(?:int:)?(\w+)>", lambda found: known[found[1]], path)
    return f"{path}?format=safetensors" if path == "/v1/models/iris/versions" else path


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize(("method", "path", "content_type"), ROUTES)
def test_a_body_past_the_limit_is_refused_by_every_route(
    given: Given, method: str, path: str, content_type: str, framing: str
) -> None:
    """One byte too many is a 413 that names the limit and its setting; nothing of it is stored, and nothing is made."""
    before = stored(given.product)
    body = of_length(content_type, LIMIT + 1)
    header = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {len(body)}"
    sent = chunked(body) if framing == "chunked" else body
    answer = send(given.product, method, filled(path, given), content_type.split("; in", maxsplit=1)[0], header, sent)
    assert answer is not None
    assert answer.status == 413, answer
    assert str(LIMIT) in answer.text
    assert SETTING in answer.text
    if path.startswith("/v1"):
        assert answer.media_type == "application/problem+json"
    assert stored(given.product) == before


def test_a_body_of_just_the_limit_is_stored_whole(given: Given) -> None:
    """A chunked upload of as many bytes as the limit allows is accepted, with all of its bytes."""
    body = of_length(CSV, LIMIT)
    answer = send(given.product, "POST", "/v1/datasets", CSV, "Transfer-Encoding: chunked", chunked(body))
    assert answer is not None
    assert answer.status == 201, answer
    assert json.loads(answer.text)["bytes"] == LIMIT
    key = json.loads(answer.text)["id"]
    assert (Path(given.product.folder) / "datasets" / key).read_bytes() == body


WHOLE = b"a,label\n" + ROWS * 50
LIES = {
    "ends before its length": (f"Content-Length: {len(WHOLE) + 1}", WHOLE),
    "ends within a chunk": ("Transfer-Encoding: chunked", b"%x\r\n%b" % (len(WHOLE) + 1, WHOLE)),
    "ends before its last chunk": ("Transfer-Encoding: chunked", chunked(WHOLE)[:-5]),
    "has no size of a chunk": ("Transfer-Encoding: chunked", b"xyz\r\n" + WHOLE),
    "has a negative size of a chunk": ("Transfer-Encoding: chunked", b"-5\r\n" + WHOLE),
    "has a chunk longer than its size": ("Transfer-Encoding: chunked", b"5\r\n%b\r\n0\r\n\r\n" % WHOLE),
    "has a length and chunks": ("Content-Length: 5\r\nTransfer-Encoding: chunked", chunked(WHOLE)),
    "has two lengths": ("Content-Length: 5\r\nContent-Length: 6", WHOLE),
    "has a length that is no number": ("Content-Length: 1_0", WHOLE),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_body_that_is_not_as_it_says_is_refused(given: Given, lie: str) -> None:
    """A body that ends early or is badly framed is a 400 and stored nowhere, and the next request is answered."""
    before = stored(given.product)
    framing, body = LIES[lie]
    answer = send(given.product, "POST", "/v1/datasets", CSV, framing, body)
    assert answer is not None
    assert answer.status == 400, answer
    assert stored(given.product) == before
    assert given.product.get("/healthz").status_code == 200


def test_an_endless_chunk_is_refused_at_the_limit(given: Given) -> None:
    """A chunk that claims more bytes than any memory holds is refused as soon as the limit is passed."""
    body = b"7fffffffffffffff\r\n" + of_length(CSV, 2 * LIMIT)
    answer = send(given.product, "POST", "/v1/datasets", CSV, "Transfer-Encoding: chunked", body)
    assert answer is not None
    assert answer.status == 413, answer
