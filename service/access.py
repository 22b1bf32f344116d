"""Access control. Each route declares its `policy=`; a route without one refuses every request and fails the tests."""

import hashlib
import hmac

from flask import Flask, Response, redirect, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as BaseResponse

from service.browser_sessions import check_change, configure_cookie, session_project
from service.context import parts
from service.flask_front import to_response
from service.hosts import is_answered
from service.next_page import is_page, login_address
from service.problems import Problem
from service.request import Principal
from service.request import request as received
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


def register_access(app: Flask, settings: ServiceSettings, policies: dict[str, str]) -> None:
    """Check every request before its route runs. policies: a scope, OPEN or SESSION, by Flask endpoint."""
    configure_cookie(app, settings)
    headers = security_headers(settings)
    names = settings.hosts
    app.before_request(lambda: _check_host(names))
    app.before_request(lambda: _enforce(settings, policies.get(request.endpoint or "")))
    app.after_request(lambda response: _harden(response, headers))


def security_headers(settings: ServiceSettings) -> dict[str, str]:
    """Return the headers that every answer has, unless its route sets others."""
    return HEADERS | ({"Strict-Transport-Security": "max-age=31536000"} if settings.is_tls else {})


def _check_host(names: frozenset[str] | None) -> Response | None:
    """Refuse a foreign Host on every route alike: a page of another site may call this machine by a name of its own."""
    # Flask itself builds no address for a few names that are well-formed
    if is_answered(request.headers.get("Host"), names) and not isinstance(request.routing_exception, BadRequest):
        return None
    detail = "this server does not answer by this host name; GRADMILL_TRUSTED_HOSTS sets others"
    return to_response(Problem(400, detail, code="foreign_host").reply())


def _enforce(settings: ServiceSettings, policy: str | None) -> BaseResponse | None:
    """Let the request pass, redirect a browser to the login, or raise Problem. Without a policy no request passes."""
    # a browser sends its preflight request without a key, and the answer contains nothing but methods
    if policy == OPEN or request.method == "OPTIONS":
        return None
    principal = _identify(settings)
    if principal is None:
        if is_page(request.path) and request.method == "GET":
            return redirect(login_address())
        raise Problem(401, "a valid key is needed: Authorization: Bearer KEY", headers={"WWW-Authenticate": "Bearer"})
    if request.endpoint is not None and policy is None:
        raise Problem(403, "this route has no access policy")
    if policy not in (None, SESSION) and policy not in principal.scopes:
        raise Problem(403, f"the key lacks the scope {policy}")
    if principal.by_cookie and request.method not in SAFE:
        check_change(request.headers.get("X-CSRF-Token") or request.form.get("csrf_token"))
    received().principal = principal
    return None


def _identify(settings: ServiceSettings) -> Principal | None:
    """Return the caller, known by a bearer key or a session; None if the request has neither.

    Raises Problem, 429, instead of returning None if this address has sent too many wrong keys.
    """
    authorization = request.headers.get("Authorization", "")
    if (holder := key_holder(settings, authorization)) is not None:
        return holder
    if is_bearer(authorization):
        parts().failed_keys.count(request.remote_addr)
        return None
    project = session_project()
    return None if project is None else Principal(project, frozenset(SCOPES), by_cookie=True)


def _harden(response: Response, headers: dict[str, str]) -> Response:
    """Add the security headers, and a Cache-Control if the route has set none."""
    for name, value in headers.items():
        response.headers.setdefault(name, value)
    if response.status_code == 204:
        del response.headers["Content-Type"]
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-cache" if request.method == "GET" else "no-store"
    return response


KEY_HOLDER = Principal(DEFAULT_PROJECT, frozenset(SCOPES), by_cookie=False)


def is_bearer(authorization: str) -> bool:
    """Return whether an Authorization header holds a key, right or wrong."""
    return authorization.partition(" ")[0].lower() == "bearer"


def key_holder(settings: ServiceSettings, authorization: str) -> Principal | None:
    """Return the caller whose key an Authorization header holds; None if it holds none, or a wrong one."""
    given = authorization.partition(" ")[2].strip()
    return KEY_HOLDER if is_bearer(authorization) and is_key(settings, given) else None


def is_key(settings: ServiceSettings, given: str) -> bool:
    """Return whether this is the API key. The time that it takes does not depend on how much of the key is right."""
    # all digests have the same length, so the comparison does not reveal the length of the key
    secret = settings.api_key.get_secret_value()
    return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), hashlib.sha256(secret.encode()).digest())


CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    # with no-referrer a browser would send `Origin: null` with our own forms
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
