"""Sessions of the dashboard: they end on the server, their cookie stays at home, and a login leads where it should."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import update

from service.app import create_app
from service.browser_sessions import MEMBER
from service.context import EXTENSION, Parts
from service.next_page import page_after_login
from service.settings import ServiceSettings
from tests.service.conftest import KEY
from worker.records.clock import seconds_from_now
from worker.records.logins import new_login_token
from worker.records.tables import UiSession

TLS = {"public_url": "https://g.example"}


def token_of(browser: FlaskClient, path: str = "/ui/login", **options: Any) -> str:
    """The CSRF token in a page."""
    page = browser.get(path, **options).get_data(as_text=True)
    found = re.search(r'name="csrf[-_]token"[^>]*(?:content|value)="([^"]+)"', page)
    assert found is not None
    return found[1]


def log_in(browser: FlaskClient, *, asked: str = "", **options: Any) -> str:
    """Send the form, and return where it leads."""
    data = {"key": KEY, "csrf_token": token_of(browser), "next": asked}
    answer = browser.post("/ui/login", data=data, **options)
    assert answer.status_code == 303
    return answer.headers["Location"]


def cookie_of(browser: FlaskClient) -> str:
    cookie = browser.get_cookie("gradmill_session")
    assert cookie is not None
    return cookie.value


@pytest.fixture(params=["sqlite", "postgresql"])
def browser(request: pytest.FixtureRequest, settings: ServiceSettings) -> Any:
    """A browser that is not logged in, on each kind of database."""
    url = request.getfixturevalue(f"{request.param}_url")
    app = create_app(settings.model_copy(update={"database_url": url}))
    parts: Parts = app.extensions[EXTENSION]
    yield app.test_client()
    parts.live.close()
    parts.live.join()
    parts.doorbell.close()
    parts.database.close()


def test_a_cookie_that_was_copied_is_worth_nothing_after_the_logout(browser: FlaskClient) -> None:
    """For pages, reads and changes alike; another browser of the same key stays logged in."""
    other = browser.application.test_client()
    for one in (browser, other):
        log_in(one)
    copied = browser.application.test_client()
    copied.set_cookie("gradmill_session", cookie_of(browser))
    assert copied.get("/v1/jobs").status_code == 200
    token = token_of(copied, "/ui/jobs")
    assert browser.post("/ui/logout", data={"csrf_token": token_of(browser, "/ui/jobs")}).status_code == 303
    copied.set_cookie("gradmill_session", cookie_of(copied))
    assert copied.get("/v1/jobs").status_code == 401
    assert copied.get("/ui/jobs").headers["Location"] == "/ui/login"
    assert copied.post("/v1/jobs", json={}, headers={"X-CSRF-Token": token}).status_code == 401
    assert copied.get("/ui/login").status_code == 200
    assert other.get("/v1/jobs").status_code == 200


def test_a_logout_ends_the_streams_of_its_session(app: Flask, parts: Parts, post: Any, client: FlaskClient) -> None:
    """At the next heartbeat; the stream of a client with a key goes on."""
    job_id = post().get_json()["id"]
    browser = app.test_client()
    log_in(browser)
    watched = browser.get(f"/v1/jobs/{job_id}/events").response
    by_key = client.get(f"/v1/jobs/{job_id}/events").response
    heartbeat = b"event: heartbeat\ndata: {}\n\n"
    for stream in (watched, by_key):
        assert heartbeat in [next(iter(stream)) for _ in range(3)]
    assert browser.post("/ui/logout", data={"csrf_token": token_of(browser, "/ui/jobs")}).status_code == 303
    assert len(list(watched)) <= 1
    assert [next(iter(by_key)) for _ in range(3)] == [heartbeat] * 3
    for stream in (watched, by_key):
        stream.close()  # type: ignore[union-attr]


def test_a_session_expires_by_the_databases_clock(browser: FlaskClient) -> None:
    """However fresh the cookie is."""
    log_in(browser)
    database = browser.application.extensions[EXTENSION].database
    database.write(lambda session: session.execute(update(UiSession).values(expires_at=seconds_from_now(-1))))
    assert browser.get("/v1/jobs").status_code == 401


def test_a_second_login_ends_the_first(app: Flask, parts: Parts) -> None:
    """A browser has one session, whether a form or a link began it."""
    browser = app.test_client()
    log_in(browser)
    former = app.test_client()
    former.set_cookie("gradmill_session", cookie_of(browser))
    link = parts.database.write(new_login_token)
    assert browser.get(f"/ui/login?token={link}").headers["Location"] == "/ui/jobs"
    assert browser.get("/v1/jobs").status_code == 200
    assert former.get("/v1/jobs").status_code == 401
    assert app.test_client().get(f"/ui/login?token={link}").status_code == 401


def test_another_key_ends_all_sessions(app: Flask, parts: Parts, settings: ServiceSettings) -> None:
    """The cookie's signature is made with the key."""
    browser = app.test_client()
    log_in(browser)
    other = create_app(settings.model_copy(update={"api_key": SecretStr("another")})).test_client()
    other.set_cookie("gradmill_session", cookie_of(browser))
    assert other.get("/v1/jobs").status_code == 401


def test_without_a_database_a_page_is_503(settings: ServiceSettings) -> None:
    """A session can't be looked up then: a page says so, as for every other read, and when to try again."""
    away = settings.model_copy(update={"database_url": "postgresql://postgres@127.0.0.1:9/none"})
    browser = create_app(away).test_client()
    with browser.session_transaction() as session:
        session[MEMBER] = "any"
    answer = browser.get("/ui/jobs")
    assert (answer.status_code, answer.mimetype, answer.headers["Retry-After"]) == (503, "text/html", "2")
    assert browser.get("/v1/jobs").status_code == 503


def test_behind_tls_the_cookie_is_secure_and_its_hosts_own(settings: ServiceSettings) -> None:
    """`__Host-` and Secure, and browsers are told to come by https only; without TLS neither."""
    secure = create_app(settings.model_copy(update=TLS)).test_client().get("/ui/login")
    assert secure.headers["Set-Cookie"].startswith("__Host-gradmill_session=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"} <= set(secure.headers["Set-Cookie"].split("; "))
    assert "Domain" not in secure.headers["Set-Cookie"]
    assert secure.headers["Strict-Transport-Security"] == "max-age=31536000"
    plain = create_app(settings).test_client().get("/ui/login", headers={"X-Forwarded-Proto": "https"})
    assert plain.headers["Set-Cookie"].startswith("gradmill_session=")
    assert "Secure" not in plain.headers["Set-Cookie"]
    assert "Strict-Transport-Security" not in plain.headers


ORIGINS = [
    ({}, "http://localhost", True),
    ({}, "http://LOCALHOST:80", True),
    ({}, "https://localhost", True),
    ({}, "http://localhost:8701", False),
    ({}, "https://evil.example", False),
    ({}, "null", False),
    ({}, "", False),
    ({}, "http://localhost.evil.example", False),
    (TLS, "https://g.example", True),
    (TLS, "https://g.example:443", True),
    (TLS, "http://g.example", False),
    (TLS, "https://evil.example", False),
    (TLS, "http://localhost", True),
]


@pytest.mark.parametrize(("given", "origin", "is_own"), ORIGINS)
def test_the_origin_of_a_login_and_of_a_change_is_checked(
    settings: ServiceSettings, given: dict[str, Any], origin: str, is_own: bool
) -> None:
    """Beside the token: a page of another site can neither log a browser in nor make it change anything."""
    browser = create_app(settings.model_copy(update=given)).test_client()
    # the Host is the origin's, as for a page that somebody on the way serves by plain http
    at = {"base_url": "https://localhost" if "localhost" in origin else "https://g.example"} if given else {}
    data = {"key": KEY, "csrf_token": token_of(browser, **at)}
    headers = {"Origin": origin}
    answer = browser.post("/ui/login", data=data, headers=headers, **at)
    assert (answer.status_code, answer.mimetype) == (303 if is_own else 403, "text/html")
    browser.post("/ui/login", data=data, **at)
    headers["X-CSRF-Token"] = token_of(browser, "/ui/jobs", **at)
    answer = browser.post("/v1/jobs", json={}, headers=headers, **at)
    assert answer.status_code == (422 if is_own else 403)
    assert is_own or answer.get_json()["code"] == "cross_site"


def test_another_sites_form_can_not_log_a_browser_in(app: Flask, parts: Parts) -> None:
    """By what the browser says of the request, even with a token."""
    browser = app.test_client()
    data = {"key": KEY, "csrf_token": token_of(browser)}
    answer = browser.post("/ui/login", data=data, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


def test_a_login_leads_to_the_page_that_was_asked_for(app: Flask, parts: Parts) -> None:
    """By the form and by the link that works once, with its query; also who is logged in already."""
    asked = "/ui/jobs?status=running&tag=a%20b"
    browser = app.test_client()
    login = browser.get(asked).headers["Location"]
    assert parse_qs(urlsplit(login).query) == {"next": [asked]}
    page = browser.get(login).get_data(as_text=True)
    assert f'name="next" value="{asked.replace("&", "&amp;")}"' in page
    assert log_in(browser, asked=asked) == asked
    assert browser.get(login).headers["Location"] == asked
    link = parts.database.write(new_login_token)
    assert app.test_client().get(f"/ui/login?token={link}&next=/docs").headers["Location"] == "/docs"
    wrong = app.test_client()
    data = {"key": "wrong", "csrf_token": token_of(wrong), "next": "/docs"}
    assert 'name="next" value="/docs"' in wrong.post("/ui/login", data=data).get_data(as_text=True)


OURS = ["/ui", "/ui/", "/docs", "/ui/jobs/job_1", "/ui/jobs?name=%C3%A9&url=https://x", "/docs?a=b"]
FOREIGN = [
    "https://evil.example",
    "https:evil.example",
    "javascript:alert(1)",
    "//evil.example",
    "//evil.example/ui",
    "/\\evil.example",
    "\\\\evil.example",
    "/ui\\..\\..",
    "/ui//evil.example",
    "/ui/..//evil.example",
    "/ui/../v1/jobs",
    "/ui/./jobs",
    "/%2f/evil.example",
    "%2f%2fevil.example",
    "/ui/%2e%2e//evil.example",
    "/ui/%2e%2e%2fevil",
    "/ui/%252e%252e/x",
    "/ui/%5cevil",
    "/ui/%255cevil",
    "/ui/a%0d%0aSet-Cookie:x",
    "/ui/jobs?x=%0d%0aSet-Cookie:x",
    "/ui/a%00",
    "/ui/a\r\nSet-Cookie: x",
    "/ui/\tjobs",
    " /ui/jobs",
    "/ui/jobs\u2028",
    "/u\u0131/jobs",
    "/uix",
    "/docsx",
    "/v1/jobs",
    "ui/jobs",
    "/UI/jobs",
    "/ui/login",
    "/ui/login?token=x",
    "/ui/logout",
    "/ui/%6cogin",
    "",
    "/ui/" + "a" * 2000,
]


@pytest.mark.parametrize("asked", FOREIGN)
def test_a_login_leads_nowhere_else(app: Flask, asked: str) -> None:
    """What is not plainly a page of ours is the jobs page."""
    with app.test_request_context():
        assert page_after_login(asked) == "/ui/jobs"


@pytest.mark.parametrize("asked", OURS)
def test_pages_of_ours_are_kept_as_they_are(app: Flask, asked: str) -> None:
    """The dashboard and the docs, with their queries."""
    with app.test_request_context():
        assert page_after_login(asked) == asked
