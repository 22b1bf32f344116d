"""By which host names the API answers: DNS rebinding makes a foreign page call this machine by a name of its own."""

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr, ValidationError
from werkzeug.test import create_environ, run_wsgi_app

from service.app import create_app
from service.context import Parts
from service.hosts import host_name, is_answered
from service.settings import ServiceSettings
from tests.service.conftest import KEY
from tests.service.test_access import rules
from worker.errors import StartError
from worker.settings import read_settings

ODD = [
    "",
    "evil.example",
    "evil.example:8700",
    "localhost.evil.example",
    "localhost:8700,evil.example",
    "[::2]",
    "[::1",
]
ODDER = ["a b", "localhost:x", "localhost:123456", "user@localhost", "localhost/x", "\u00fc", "[]", ".", "::1"]


@pytest.mark.parametrize("key", [None, KEY])
def test_a_foreign_host_is_refused_on_every_route(app: Flask, key: str | None) -> None:
    """A problem document with 400, on pages, unknown addresses and preflights too, with and without a key."""
    client = app.test_client()
    headers = {"Host": "evil.example"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
    asked = [*rules(app), ("GET", "/ui/nothing"), ("GET", "/nothing"), ("PUT", "/v1/jobs"), ("OPTIONS", "/v1/jobs")]
    for method, path in asked:
        answer = client.open(path, method=method, headers=headers)
        assert (answer.status_code, answer.content_type) == (400, "application/problem+json"), (method, path)
        assert answer.get_json()["code"] == "foreign_host"
        assert "Set-Cookie" not in answer.headers


def status_of(app: Flask, path: str, host: str) -> int:
    """The status of a request with this Host. (Werkzeug's test client reads the Host itself.)"""
    environ = create_environ(path) | {"HTTP_HOST": host.encode().decode("latin-1")}
    answer, status, _ = run_wsgi_app(app, environ)
    list(answer)
    return int(status.split()[0])


def test_an_odd_host_is_foreign(app: Flask, parts: Parts) -> None:
    """Whatever a client sends as Host is a name that is answered, or a 400."""
    for host in (*ODD, *ODDER):
        for path in ("/healthz", "/ui/login", "/nothing"):
            assert status_of(app, path, host) == 400, (host, path)


def test_every_spelling_of_loopback_is_answered(client: FlaskClient) -> None:
    """In upper case, with any port, and every way to write an IPv6 address."""
    for host in ("localhost", "LOCALHOST:8700", "127.0.0.1:1", "[::1]:8700", "[0:0:0:0:0:0:0:1]"):
        assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200, host


@pytest.mark.parametrize(
    ("given", "answered", "foreign"),
    [
        ({"host": "0.0.0.0"}, ["any.example", "a_b:80", "10.0.0.1"], []),
        ({"host": "[::1]"}, ["[::1]:8700", "localhost"], ["::1", "[::2]"]),
        ({"host": "LOCALHOST"}, ["localhost:8700"], ["evil.example"]),
        ({"host": "127.0.0.2"}, ["127.0.0.2:8700", "localhost"], ["127.0.0.3"]),
        ({"trusted_hosts": ("Example.org:8443",)}, ["example.ORG", "example.org:8443", "localhost"], ["other.example"]),
        ({"trusted_hosts": (".example.org",)}, ["a.example.org", "b.a.example.org:1"], ["example.org", "xexample.org"]),
        ({"trusted_hosts": ("::1", "[::2]:80")}, ["[::1]:8700", "[::2]"], ["[::3]"]),
        ({"public_url": "https://G.example:8443/"}, ["g.example", "localhost:8700"], ["evil.example"]),
    ],
)
def test_what_the_settings_say_about_hosts(given: dict[str, object], answered: list[str], foreign: list[str]) -> None:
    """Names in upper case, with ports and brackets are understood; a proxy's name is added to those of loopback."""
    names = ServiceSettings(**given).hosts  # type: ignore[arg-type]
    assert [host for host in answered if not is_answered(host, names)] == []
    assert [host for host in foreign if is_answered(host, names)] == []


def test_without_a_list_no_host_is_an_error(settings: ServiceSettings) -> None:
    """Beyond loopback any name is answered, however odd: the pages build no address from it."""
    app = create_app(settings.model_copy(update={"host": "0.0.0.0", "api_key": SecretStr("k" * 32)}))
    for host in ("any.example", "a_b", "a..b", "-", "...", "a" * 300, "xn--", "0", *ODD, *ODDER):
        for path in ("/healthz", "/ui/login", "/ui/jobs", "/nothing"):
            assert status_of(app, path, host) in (200, 302, 400, 401), (host, path)
    assert status_of(app, "/healthz", "a_b.example:80") == 200


@pytest.mark.parametrize("name", ["", "a b", "https://example.org"])
def test_a_trusted_host_that_is_no_name_is_refused_at_the_start(name: str) -> None:
    """The line names the variable."""
    with pytest.raises(StartError, match="GRADMILL_TRUSTED_HOSTS must be host names"):
        read_settings(ServiceSettings, trusted_hosts=(name,))


@pytest.mark.parametrize("text", ["Example.org:8443", "example.org", "EXAMPLE.ORG."])
def test_a_name_is_read_without_case_port_and_final_dot(text: str) -> None:
    """These are all one name."""
    assert host_name(text) == "example.org"


@pytest.mark.parametrize("url", ["HTTPS://G.Example/", "https://g.example:443", "https://g.example"])
def test_a_public_url_is_https_however_it_is_written(url: str) -> None:
    """Its scheme and its host are those of its origin, so that cookies are Secure."""
    settings = ServiceSettings(public_url=url)
    assert (settings.public_url, settings.is_tls) == ("https://g.example", True)


@pytest.mark.parametrize("url", ["https://me:pw@g.example", "https://g.example/x", "https://g.example#x", "g.example"])
def test_a_public_url_is_an_origin_and_nothing_else(url: str) -> None:
    """A user, a path or a fragment is refused."""
    with pytest.raises(ValidationError):
        ServiceSettings(public_url=url)
