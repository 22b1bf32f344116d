"""Nobody passes without a key, on any route; a cookie changes nothing without its token."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.access import OPEN, SCOPES
from service.app import all_operations, create_app
from service.context import Parts
from service.settings import ServiceSettings
from tests.service.conftest import KEY
from worker.errors import StartError

# the first three of these only redirect to the list, which needs a login
OPEN_PATHS = {"/", "/ui", "/ui/", "/ui/login", "/healthz", "/readyz"}


def rules(app: Flask) -> list[tuple[str, str]]:
    """Return method and path, with made-up arguments, of every route."""
    return [
        (method, re.sub(r"<[^>]+>", "x", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    ]


def test_every_operation_declares_a_known_policy() -> None:
    """Each operation has a known scope, or is open, and has a summary."""
    for operation in all_operations():
        assert operation.policy in (OPEN, *SCOPES), operation.path
        assert operation.summary, operation.path


def test_every_route_of_the_url_map_needs_a_key_but_the_open_ones(app: Flask, parts: Parts) -> None:
    """Without credentials routes are a 401 and pages redirect to the login; only health, login and assets are open."""
    stranger = app.test_client()
    for method, path in rules(app):
        answer = stranger.open(path, method=method)
        if path in OPEN_PATHS or path.startswith("/ui/static/"):
            assert answer.status_code != 401, path
        elif method == "GET" and path.startswith(("/ui", "/docs")):
            login = "/ui/login" if path == "/ui/jobs" else f"/ui/login?next={path}"
            assert (answer.status_code, answer.headers["Location"]) == (302, login), path
        else:
            assert answer.status_code == 401, (method, path)
            assert path.startswith("/ui") or answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_route_without_a_policy_is_refused(app: Flask, parts: Parts, client: FlaskClient) -> None:
    """A route whose policy was forgotten is a 403, even with the key."""
    app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    assert client.get("/forgotten").status_code == 403


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer \u00e9"])
def test_a_wrong_key_is_no_key(app: Flask, parts: Parts, header: str) -> None:
    """An Authorization header without exactly the key is a 401."""
    answer = app.test_client().get("/v1/jobs", headers={"Authorization": header.encode("latin-1").decode("latin-1")})
    assert answer.status_code == 401
    assert answer.content_type == "application/problem+json"


def test_unknown_addresses_tell_strangers_nothing(app: Flask, parts: Parts, client: FlaskClient) -> None:
    """An unknown address is a 401 without the key; with it, a 404 or a 405."""
    assert app.test_client().get("/v1/nothing").status_code == 401
    assert client.get("/v1/nothing").status_code == 404
    assert client.put("/v1/jobs").status_code == 405
    assert client.put("/v1/jobs").headers["Allow"]


def test_a_cookie_reads_but_changes_only_with_its_token(app: Flask, parts: Parts) -> None:
    """After the login form reads pass; a POST without the CSRF token, or from another site, does not."""
    browser = app.test_client()
    page = browser.get("/ui/login").get_data(as_text=True)
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert token is not None
    assert browser.post("/ui/login", data={"key": "wrong", "csrf_token": token[1]}).status_code == 401
    assert browser.post("/ui/login", data={"key": KEY, "csrf_token": token[1]}).status_code == 303
    cookie = browser.get_cookie("gradmill_session")
    assert cookie is not None
    assert cookie.http_only
    assert cookie.same_site == "Strict"
    assert browser.get("/v1/jobs").status_code == 200
    refused = browser.post("/v1/jobs", json={})
    assert (refused.status_code, refused.get_json()["code"]) == (403, "csrf")
    page = browser.get("/ui/jobs").get_data(as_text=True)
    fresh = re.search(r'name="csrf[-_]token"[^>]*(?:content|value)="([^"]+)"', page)
    assert fresh is not None
    assert browser.post("/v1/jobs", json={}, headers={"X-CSRF-Token": fresh[1]}).status_code == 422
    crossing = {"X-CSRF-Token": fresh[1], "Sec-Fetch-Site": "cross-site"}
    assert browser.post("/v1/jobs", json={}, headers=crossing).status_code == 403


def test_there_is_no_mode_without_a_key(settings: ServiceSettings) -> None:
    """The app does not start without an API key."""
    with pytest.raises(StartError, match="GRADMILL_API_KEY"):
        create_app(settings.model_copy(update={"api_key": type(settings.api_key)("")}))


def test_every_answer_carries_the_security_headers_and_a_request_id(client: FlaskClient) -> None:
    """Every answer has the security headers, and the request's own id if that is well-formed."""
    for path in ("/v1/jobs", "/v1/nothing", "/healthz", "/ui/login"):
        headers = client.get(path, headers={"X-Request-Id": "my-id_1"}).headers
        assert headers["X-Request-Id"] == "my-id_1"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert client.get("/healthz", headers={"X-Request-Id": "a b"}).headers["X-Request-Id"] != "a b"


def test_cors_is_off_unless_set(settings: ServiceSettings, client: FlaskClient) -> None:
    """Only pages of a configured origin may read answers."""
    origin = {"Origin": "https://a.example"}
    assert "Access-Control-Allow-Origin" not in client.get("/v1/jobs", headers=origin).headers
    app = create_app(settings.model_copy(update={"cors_origins": ("https://a.example",)}))
    asked = app.test_client().options(
        "/v1/jobs",
        headers=origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"},
    )
    assert asked.headers["Access-Control-Allow-Origin"] == "https://a.example"
    other = app.test_client().options("/v1/jobs", headers={"Origin": "https://b.example"})
    assert "Access-Control-Allow-Origin" not in other.headers
