"""Wrong keys are limited by address; a right key is never locked out."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service import failed_keys
from service.app import create_app
from service.context import Parts
from service.failed_keys import FAILURES, FailedKeys
from service.problems import Problem
from service.settings import ServiceSettings
from tests.service.conftest import KEY
from tests.service.test_sessions import token_of

Try = Callable[..., TestResponse]


@pytest.fixture
def try_key(app: Flask, parts: Parts) -> Try:
    """Call with a key from an address."""

    def call(key: str, address: str = "10.0.0.1", path: str = "/v1/jobs", **headers: str) -> TestResponse:
        headers["Authorization"] = f"Bearer {key}"
        return app.test_client().get(path, headers=headers, environ_base={"REMOTE_ADDR": address})

    return call


def test_wrong_keys_past_the_limit_are_429_and_a_right_one_passes(try_key: Try) -> None:
    """Clients behind one address do not lock each other out, and another address has a count of its own."""
    assert [try_key("wrong").status_code for _ in range(FAILURES.amount)] == [401] * FAILURES.amount
    refused = try_key("wrong")
    assert (refused.status_code, refused.content_type) == (429, "application/problem+json")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.get_json()["code"] == "too_many_failures"
    assert try_key(KEY).status_code == 200
    assert try_key("wrong").status_code == 429
    assert try_key("wrong", "10.0.0.2").status_code == 401


def test_other_protocols_say_it_in_their_form(try_key: Try) -> None:
    """The limit holds wherever a caller is identified."""
    for _ in range(FAILURES.amount):
        try_key("wrong", path="/v2")
    refused = try_key("wrong", path="/v2")
    assert (refused.status_code, list(refused.get_json())) == (429, ["error"])
    assert refused.headers["Retry-After"]


def test_a_request_without_a_key_is_no_failure(app: Flask, parts: Parts) -> None:
    """A browser that is not logged in, or a client that asks first, is told 401 each time."""
    stranger = app.test_client()
    assert {stranger.get("/v1/jobs").status_code for _ in range(FAILURES.amount + 2)} == {401}


def test_the_login_form_and_links_are_limited_too(app: Flask, parts: Parts) -> None:
    """Past the limit the form comes back with 429, and the right key still opens it."""
    browser = app.test_client()
    token = token_of(browser)
    for _ in range(FAILURES.amount // 2):
        assert browser.post("/ui/login", data={"key": "wrong", "csrf_token": token}).status_code == 401
        assert browser.get("/ui/login?token=wrong").status_code == 401
    for refused in (browser.get("/ui/login?token=wrong"), browser.post("/ui/login", data={"csrf_token": token})):
        assert (refused.status_code, refused.mimetype) == (429, "text/html")
        assert refused.headers["Retry-After"]
        assert "Too many wrong keys from this address" in refused.get_data(as_text=True)
    assert browser.post("/ui/login", data={"key": KEY, "csrf_token": token}).status_code == 303


def test_a_forwarded_address_counts_only_if_proxies_are_set(try_key: Try, settings: ServiceSettings) -> None:
    """Otherwise a client would have a new address with each request; with one proxy, its word is the last."""
    for n in range(FAILURES.amount):
        try_key("wrong", **{"X-Forwarded-For": f"10.1.0.{n}"})
    assert try_key("wrong", **{"X-Forwarded-For": "10.1.1.1"}).status_code == 429
    behind = create_app(settings.model_copy(update={"proxies": 1})).test_client()
    wrong = {"Authorization": "Bearer wrong"}
    for n in range(FAILURES.amount):
        behind.get("/v1/jobs", headers=wrong | {"X-Forwarded-For": f"10.2.0.{n}, 10.1.0.1"})
    for address, status in (("10.1.0.1", 429), ("10.1.0.2", 401)):
        answer = behind.get("/v1/jobs", headers=wrong | {"X-Forwarded-For": f"10.2.1.1, {address}"})
        assert answer.status_code == status


def test_the_memory_is_bounded_for_any_number_of_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses share counters once there are more of them."""
    monkeypatch.setattr(failed_keys, "COUNTERS", 4)
    failures, refused = FailedKeys(), 0
    for n in range(200):
        try:
            failures.count(f"10.0.{n}.1")
        except Problem:
            refused += 1
    assert len(failures._limiter.storage.storage) <= 4  # type: ignore[attr-defined]
    assert refused >= 200 - 4 * FAILURES.amount


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("", "", True),
    ],
)
def test_which_addresses_are_one_client(first: str, second: str, is_one: bool) -> None:
    """A network of 64 bits is one client's; an IPv4 address is itself, however it is written."""
    assert (failed_keys.network_of(first) == failed_keys.network_of(second)) == is_one


def test_a_failure_is_logged_without_the_key(
    client: FlaskClient, capsys: pytest.CaptureFixture[str], try_key: Try
) -> None:
    """The address is there for who blocks such addresses elsewhere."""
    try_key("my-secret")
    logged = capsys.readouterr().out
    assert "key_refused" in logged
    assert "10.0.0.1" in logged
    assert "my-secret" not in logged
