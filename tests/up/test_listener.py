"""The listener of a real product, on the IPv6 loopback address: what it prints, whom it answers, and odd requests."""

import re
import socket
import stat
from collections.abc import Iterator

import httpx2
import pytest

from service.failed_keys import FAILURES
from tests.products import Product, free_port, start_product

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product on ::1, in a folder that others could open, with its key in a file."""
    folder = tmp_path_factory.mktemp("listener") / "data"
    folder.mkdir(mode=0o755)
    key = folder / "api_key"
    key.write_text("k" * 32 + "\n")
    options = {"GRADMILL_HOST": "::1", "GRADMILL_API_KEY_FILE": str(key), "GRADMILL_WORKERS": "1"}
    with start_product(folder, free_port(), **options) as product:
        yield product


def raw(product: Product, text: str) -> str:
    """The answer to these bytes, as text."""
    with socket.create_connection(("::1", product.port), timeout=10) as connection:
        connection.sendall(text.replace("\n", "\r\n").encode("latin-1"))
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode("latin-1")


def status(answer: str) -> int:
    found = re.match(r"HTTP/1\.[01] (\d{3}) ", answer)
    assert found is not None, answer
    return int(found[1])


def test_it_is_up_where_it_says(product: Product) -> None:
    """The address, the link and the Host check are of ::1; the folder is its owner's, and a line said so."""
    assert f"gradmill is up at http://[::1]:{product.port};" in "".join(product.said)
    assert f"{product.folder} (mode 0755)" in product.said[0]
    assert stat.S_IMODE(product.folder.stat().st_mode) == 0o700
    assert product.get("/v1/jobs").status_code == 200
    with httpx2.Client() as browser:
        assert browser.get(product.login_link).headers["Location"] == "/ui/jobs"
        assert browser.get(f"{product.url}/ui/jobs").status_code == 200
    assert product.get("/v1/jobs", headers={"Host": "LOCALHOST:8700"}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/ui/login", "/ui/jobs", "/healthz", "/v1/jobs", "/v1/nothing", "/", "/ui/static/x/y"]
)
def test_a_foreign_host_is_a_400(product: Product, path: str) -> None:
    """Also one that no client library would send, or several."""
    for host in ("evil.example", "[::2]", "a b", "", "\u00fc", "[::1]\nHost: evil.example", "x" * 300):
        answer = raw(product, f"GET {path} HTTP/1.1\nHost: {host}\nConnection: close\n\n")
        assert status(answer) == 400, host


@pytest.mark.parametrize(
    "header",
    [
        "SCRIPT_NAME: /x",
        "Script-Name: /x",
        "PATH_INFO: /x",
        "X-Forwarded-Prefix: /x",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: https",
        "X-Forwarded-For: 10.0.0.1",
        "Forwarded: for=10.0.0.1;host=evil.example;proto=https",
    ],
)
def test_what_a_proxy_would_say_is_ignored(product: Product, header: str) -> None:
    """Without a setting these are a client's words: the answer is the same as without them."""
    for path in ("/ui/jobs", "/v1/nothing"):
        request = f"GET {path} HTTP/1.1\nHost: localhost\nConnection: close\n"
        plain, forwarded = raw(product, f"{request}\n"), raw(product, f"{request}{header}\n\n")
        assert status(forwarded) == status(plain)
        assert re.findall("Location: .*", forwarded) == re.findall("Location: .*", plain)
        assert "Secure" not in forwarded


@pytest.mark.parametrize(
    "chunk", ["xyz\nabc\n0\n\n", "-1\nabc\n0\n\n", "5\nabc", "3\nabcdef\n0\n\n", "\n\n", "3;\0\nabc\n0\n\n"]
)
def test_malformed_chunks_are_a_400(product: Product, chunk: str) -> None:
    """With and without a key, on pages and on the API, a bad size is the client's fault."""
    kinds = "Transfer-Encoding: chunked\nContent-Type: application/x-www-form-urlencoded\nConnection: close"
    for path, key, statuses in (
        ("/v1/jobs", f"Authorization: Bearer {product.key}\n", {400, 415}),
        ("/v1/jobs", "", {400, 401}),
        ("/ui/login", "", {400}),
    ):
        with socket.create_connection(("::1", product.port), timeout=10) as connection:
            connection.sendall(
                f"POST {path} HTTP/1.1\nHost: localhost\n{key}{kinds}\n\n{chunk}".replace("\n", "\r\n").encode()
            )
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536).decode("latin-1")
        assert status(answer) in statuses, (path, answer)


def test_wrong_keys_are_limited_on_every_front(product: Product) -> None:
    """By address; the right key still passes."""
    wrong = {"Authorization": "Bearer wrong"}
    statuses = [
        httpx2.get(f"{product.url}{path}", headers=wrong).status_code
        for _ in range(FAILURES.amount)
        for path in ("/v1/jobs", "/v2")
    ]
    assert statuses == [401] * FAILURES.amount + [429] * FAILURES.amount
    assert product.get("/v1/jobs").status_code == 200
