"""Sessions of browsers: a row in the database, its token in a signed cookie, and what a change by cookie must show."""

import hmac
from collections.abc import Callable
from datetime import timedelta

from flask import Flask, request, session
from flask_wtf.csrf import ValidationError, generate_csrf, validate_csrf
from sqlalchemy.orm import Session

from service.context import caller, parts
from service.problems import Problem
from service.settings import ServiceSettings, origin_of
from worker.broker.exposure import is_loopback
from worker.records.logins import begin_session, end_session, find_session

MEMBER = "session"
"The member of the cookie that holds the session's token."
COOKIE = "gradmill_session"


def configure_cookie(app: Flask, settings: ServiceSettings) -> None:
    """Set what the cookie is called and who may read it."""
    secret = settings.api_key.get_secret_value()
    # every API process and replica signs cookies with the same secret, and changing the key ends all sessions
    app.secret_key = hmac.digest(secret.encode(), b"session cookie", "sha256")
    app.config.update(
        # browsers take a cookie with this prefix only from this host, by https, for all its paths
        SESSION_COOKIE_NAME=f"__Host-{COOKIE}" if settings.is_tls else COOKIE,
        SESSION_COOKIE_SECURE=settings.is_tls,
        SESSION_COOKIE_PATH="/",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        # an answer that was under way during a logout must not bring the cookie back
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(hours=settings.session_hours),
        WTF_CSRF_TIME_LIMIT=None,
    )


def session_project() -> str | None:
    """Return the project of the session whose cookie this request carries; None if it has none, or it has ended."""
    token = session.get(MEMBER)
    if token is None:
        return None
    with parts().database.reading() as records:
        return find_session(records, token)


def session_check() -> Callable[[], bool] | None:
    """Return a function that says whether the caller's session goes on; None if the caller has a key instead."""
    if caller() == "key":
        return None
    token: str = session[MEMBER]
    database = parts().database

    def goes_on() -> bool:
        with database.reading() as records:
            return find_session(records, token) is not None

    return goes_on


def log_in() -> None:
    """Begin a session. The one that this browser had ends."""
    former, seconds = session.get(MEMBER), parts().settings.session_hours * 3600

    def work(records: Session) -> str:
        if former is not None:
            end_session(records, former)
        return begin_session(records, seconds=seconds)

    token = parts().database.write(work)
    session.clear()
    session[MEMBER] = token
    session.permanent = True


def log_out() -> None:
    """End the session: a copy of its cookie is worth nothing from now on."""
    token = session.get(MEMBER)
    if token is not None:
        parts().database.write(lambda records: end_session(records, token))
    session.clear()


def csrf_token() -> str:
    """Return the token that a form or a script of this session must send with a change."""
    token: str = generate_csrf()
    return token


def check_change(csrf: str | None) -> None:
    """Raise Problem unless this change comes from a page of ours. csrf: the token that was sent with it."""
    check_origin()
    try:
        validate_csrf(csrf)
    except ValidationError as error:
        raise Problem(403, "a change by cookie needs its CSRF token", code="csrf") from error


def check_origin() -> None:
    """Raise Problem if the browser says that this request comes from a page of another site."""
    origin = request.headers.get("Origin")
    is_same_site = request.headers.get("Sec-Fetch-Site", "same-origin") in ("same-origin", "none")
    if not is_same_site or (origin is not None and not is_own_origin(origin, parts().settings)):
        detail = "this request comes from another site; behind a proxy, GRADMILL_PUBLIC_URL must be its address"
        raise Problem(403, detail, code="cross_site")


def is_own_origin(text: str, settings: ServiceSettings) -> bool:
    """Return whether an Origin header names this server: by its public address, or by the Host of the same request.

    Without a public address the scheme is not compared, as a proxy in front may speak another than this server. With
    one, only this machine itself may call by another name.
    """
    origin = origin_of(text)
    if origin is None:
        return False
    if origin == origin_of(settings.public_url):
        return True
    scheme, name, port = origin
    host = origin_of(f"{scheme}://{request.headers.get('Host', '')}")
    return (not settings.public_url or is_loopback(name)) and host == (scheme, name, port)
