"""Access control. Each route declares its `policy=`; a route without one refuses every request and fails the tests."""

import hashlib
import hmac

from flask import Flask, Response, g, redirect, request, session, url_for
from flask_wtf.csrf import ValidationError, generate_csrf, validate_csrf
from werkzeug.wrappers import Response as BaseResponse

from service.context import Principal
from service.problems import Problem
from service.settings import ServiceSettings
from worker.records.identifiers import DEFAULT_PROJECT

OPEN = "open"
"The policy of a route that needs no key."
SESSION = "session"
"The policy of a page that every logged-in user may see."

SCOPES = (
    "jobs:read",
    "jobs:write",
    "datasets:read",
    "datasets:write",
    "models:read",
    "models:write",
    "models:predict",
    "system:read",
)

SAFE = ("GET", "HEAD", "OPTIONS")
LOGGED_IN = "key"
PAGES = ("/ui", "/docs")


def register_access(app: Flask, settings: ServiceSettings, policies: dict[str, str]) -> None:
    """Check every request before its route runs. policies: a scope, OPEN or SESSION, by Flask endpoint."""
    secret = settings.api_key.get_secret_value()
    # every API process and replica signs cookies with the same secret, and changing the key ends all sessions
    app.secret_key = hmac.digest(secret.encode(), b"session cookie", "sha256")
    app.config.update(
        SESSION_COOKIE_NAME="gradmill_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        WTF_CSRF_TIME_LIMIT=None,
    )
    app.before_request(lambda: _enforce(settings, policies.get(request.endpoint or "")))
    app.after_request(_harden)


def _enforce(settings: ServiceSettings, policy: str | None) -> BaseResponse | None:
    """Let the request pass, redirect a browser to the login, or raise Problem. Without a policy no request passes."""
    # a browser sends its preflight request without a key, and the answer contains nothing but methods
    if policy == OPEN or request.method == "OPTIONS":
        return None
    principal = _identify(settings)
    if principal is None:
        if request.path.startswith(PAGES) and request.method == "GET":
            return redirect(url_for("ui.login"))
        raise Problem(401, "a valid key is needed: Authorization: Bearer KEY", headers={"WWW-Authenticate": "Bearer"})
    if request.endpoint is not None and policy is None:
        raise Problem(403, "this route has no access policy")
    if policy not in (None, SESSION) and policy not in principal.scopes:
        raise Problem(403, f"the key lacks the scope {policy}")
    if principal.by_cookie and request.method not in SAFE:
        _check_csrf()
    g.principal = principal
    return None


def _identify(settings: ServiceSettings) -> Principal | None:
    """Return the caller, known by a bearer key or a session cookie; None if the request has neither."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        known = is_key(settings, given.strip())
        return Principal(DEFAULT_PROJECT, frozenset(SCOPES), by_cookie=False) if known else None
    return Principal(DEFAULT_PROJECT, frozenset(SCOPES), by_cookie=True) if session.get(LOGGED_IN) else None


def _harden(response: Response) -> Response:
    """Add the security headers, and a Cache-Control if the route has set none."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if response.status_code == 204:
        del response.headers["Content-Type"]
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-cache" if request.method == "GET" else "no-store"
    return response


def is_key(settings: ServiceSettings, given: str) -> bool:
    """Return whether this is the API key. The time that it takes does not depend on how much of the key is right."""
    # all digests have the same length, so the comparison does not reveal the length of the key
    secret = settings.api_key.get_secret_value()
    return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), hashlib.sha256(secret.encode()).digest())


def log_in() -> None:
    """Start a session. The signed cookie contains only the fact that its owner has logged in."""
    session.clear()
    session[LOGGED_IN] = True
    session.permanent = True


def csrf_token() -> str:
    """Return the token that a form or a script of this session must send with a change."""
    token: str = generate_csrf()
    return token


def _check_csrf() -> None:
    """Raise Problem unless the request comes from a page of ours."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Problem(403, "this request comes from another site", code="cross_site")
    try:
        validate_csrf(request.headers.get("X-CSRF-Token") or request.form.get("csrf_token"))
    except ValidationError as error:
        raise Problem(403, "a change by cookie needs its CSRF token", code="csrf") from error


CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
