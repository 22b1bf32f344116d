"""Both fronts answer alike: Flask alone, and the asynchronous edge with Flask behind it."""

import asyncio
import re
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import httpx2
import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.app import all_operations
from service.context import Parts
from service.edge.application import Edge
from service.edge.routes import Routes
from tests.service.conftest import KEY

JSON = {"Content-Type": "application/json"}
BEARER = {"Authorization": f"Bearer {KEY}"}
ROW = [5.1, 3.5, 1.4, 0.2]
TENSOR = {"name": "rows", "shape": [1, 4], "datatype": "FP32", "data": ROW}
LARGE = b'{"rows": [' + b",".join([b"[5.1, 3.5, 1.4, 0.2]"] * 4000) + b"]}"

BODIES: dict[str, tuple[dict[str, str], bytes]] = {
    "nothing": ({}, b""),
    "a row": (JSON, orjson.dumps({"rows": [ROW]})),
    "a named row": (JSON, b'{"rows": [{"sepal_length": 5.1}], "top_k": 2}'),
    "a tensor": (JSON, orjson.dumps({"inputs": [TENSOR]})),
    "an instance": (JSON, orjson.dumps({"instances": [ROW]})),
    "CSV": ({"Content-Type": "text/csv"}, b"sepal_length,sepal_width,petal_length,petal_width\n5,3,1,0\n"),
    "no JSON": (JSON, b'{"rows": [[5.1,'),
    "text in a number": (JSON, b'{"rows": [[5.1, "x", 1, 2]]}'),
    "an integer past 64 bits": (JSON, b'{"rows": [[36893488147419103232, 1, 1, 2]]}'),
    "another media type": ({"Content-Type": "image/png"}, b"\x89PNG"),
    "many rows": (JSON, LARGE),
    "a table that does not exist": (JSON, b'{"dataset": {"source": "stored", "id": "dst_0"}}'),
}
HEADERS: dict[str, dict[str, str]] = {
    "a key": BEARER,
    "no key": {},
    "a wrong key": {"Authorization": "Bearer wrong"},
    "an id": BEARER | {"X-Request-Id": "mine-1"},
    "a bad id": BEARER | {"X-Request-Id": "not an id!"},
    "an unknown Accept": BEARER | {"Accept": "image/png"},
    "a browser's Accept": BEARER | {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
    "a bad idempotency key": BEARER | {"Idempotency-Key": "a b"},
    "a foreign host": BEARER | {"Host": "example.org"},
    "a long Accept": BEARER | {"Accept": "a/b," * 15_000},
    "gzip": BEARER | {"Accept-Encoding": "gzip"},
    "an etag": BEARER | {"If-None-Match": '"0"'},
    "another etag": BEARER | {"If-Match": '"0"'},
}
IDS = re.compile(rb"[0-9a-f]{32}|\d{4}-\d\d-\d\dT[0-9:.]+Z|wait \d+ s")
PASSING = {"date", "x-request-id", "retry-after"}


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def requests(job_id: str) -> Iterator[Asked]:
    """Yield some 400 requests, good and bad."""
    predicting = (
        f"/v1/jobs/{job_id}/predict",
        "/v1/models/iris/predict",
        "/v1/models/iris/versions/1/predict",
        "/v2/models/iris/infer",
        "/models/iris/invocations",
    )
    for path, (kind, body) in product(predicting, BODIES.values()):
        yield Asked("POST", path, BEARER | kind, body)
    for path, (headers, (kind, body)) in product(predicting, product(HEADERS.values(), [BODIES["a row"]])):
        yield Asked("POST", path, headers | kind, body)
    reading = (
        "/healthz",
        "/v2",
        "/v2/",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/iris/ready",
        "/v2/models/stats",
        f"/v1/jobs/{job_id}",
        "/models/iris/ping",
        f"/v1/jobs/{job_id}/events",
        "/v1/jobs",
        "/v1/datasets",
    )
    for path, headers in product(reading, HEADERS.values()):
        yield Asked("GET", path, headers, b"")
    odd = (
        "/v1/models/iris/predict?top_k=1",
        "/v1/models/iris/predict?top_k=x",
        "/v1/models/iris/predict?unknown=1",
        "/v1/models/iris/predict?top_k=1&top_k=2",
        "/v1/models/iri%73/predict",
        "/v1/models/iris%00/predict",
        "/v1/models//predict",
        "/v1/models/none/predict",
        "/v1/models/iris/versions/01/predict",
        "/v1/models/iris/versions/99/predict",
        "/v1/models/iris/aliases/none/predict",
        "/v1/jobs/job_0/predict",
        "/v2/models/iris/versions/x/infer",
        "/v2/models/none/infer",
        "/models/none/invocations",
        "/v1/models/iris/predict/",
        "/nowhere",
    )
    for path, method in product(odd, ("POST", "GET", "HEAD", "OPTIONS", "DELETE")):
        yield Asked(method, path, BEARER | JSON, b'{"rows": [[5.1, 3.5, 1.4, 0.2]]}' if method == "POST" else b"")
    for query in ("?a=1", "?after=1", "?after=99999", "?after=x"):
        yield Asked("GET", f"/v1/jobs/{job_id}/events{query}", BEARER, b"")
        yield Asked("GET", f"/v1/jobs/{job_id}{query}", BEARER | {"Prefer": "wait=1"}, b"")


def shown(status: int, headers: list[tuple[str, str]], body: bytes) -> Any:
    kept = sorted((name.lower(), IDS.sub(b"*", value.encode()).decode()) for name, value in headers)
    lengths = {"content-length"} if IDS.search(body) else set()
    return status, [pair for pair in kept if pair[0] not in PASSING | lengths], IDS.sub(b"*", body)


def by_flask(client: FlaskClient, asked: Asked, address: str) -> Any:
    answer: TestResponse = client.open(
        asked.path,
        method=asked.method,
        headers=asked.headers,
        data=asked.body,
        environ_overrides={"REMOTE_ADDR": address},
    )
    return shown(answer.status_code, list(answer.headers), answer.data)


async def by_edge(edge: Edge, asked: Asked, address: str) -> Any:
    transport = httpx2.ASGITransport(app=edge, client=(address, 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        client.headers.clear()
        request = client.build_request(asked.method, asked.path, headers=asked.headers, content=asked.body)
        answer = await client.send(request, stream=True)
        raw = b"".join([part async for part in answer.aiter_raw()])
        return shown(answer.status_code, answer.headers.multi_items(), raw)


def test_both_fronts_give_the_same_answers(app: Flask, parts: Parts, succeeded: Callable[..., str]) -> None:
    """Status, headers and body of each of some 400 requests, good and bad."""
    job_id = succeeded(model="iris")
    alone, edge = app.test_client(), Edge(app)
    different, asked_for = [], list(requests(job_id))
    assert len(asked_for) > 300
    statuses = set()
    for n, asked in enumerate(asked_for):
        # the failures of one address are limited
        first = by_flask(alone, asked, f"127.1.{n // 200}.{n % 200}")
        second = asyncio.run(by_edge(edge, asked, f"127.2.{n // 200}.{n % 200}"))
        statuses.add(first[0])
        if first != second:
            different.append((asked._replace(body=asked.body[:60]), first, second))
    assert different == []
    assert statuses >= {200, 204, 400, 401, 404, 405, 406, 412, 415, 422}


@pytest.mark.parametrize("operation", all_operations(), ids=lambda operation: f"{operation.method} {operation.path}")
def test_the_edge_finds_an_operation_where_flask_does(app: Flask, operation: Any) -> None:
    """Each path leads to the same operation on both fronts; the edge answers it only if it is hot."""
    path = operation.path.replace("<int:version>", "7")
    path = re.sub(r"<[^>]+>", "x", path)
    endpoint, arguments = app.url_map.bind("localhost").match(path, method=operation.method)
    assert endpoint == operation.endpoint
    found = Routes(all_operations()).find(operation.method, path)
    if operation.hot:
        assert found is not None
        assert (found.operation, found.arguments) == (operation, arguments)
    else:
        assert found is None
