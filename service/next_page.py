"""Where a login leads: the page that was asked for before it, if it is one of ours."""

from urllib.parse import quote, unquote

from flask import request, url_for

PAGES = ("/ui", "/docs")
LENGTH_LIMIT = 2000


def is_page(path: str) -> bool:
    """Return whether this path belongs to the dashboard or the docs."""
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in PAGES)


def login_address() -> str:
    """Return the address of the login page, which leads back to the page that this request asks for."""
    query = request.query_string.decode("ascii", "replace")
    asked = quote(request.path) + (f"?{query}" if query else "")
    leads_elsewhere = asked != url_for("ui.jobs") and page_after_login(asked) == asked
    return url_for("ui.login", next=asked) if leads_elsewhere else url_for("ui.login")


def page_after_login(asked: str | None) -> str:
    """Return the address to open after the login: the page that was asked for, or the jobs page if that is not ours.

    asked: what a link or a form says. It is a stranger's text: a path, and nothing that a browser or a proxy might read
    as another site, as a header, or as a way out of the dashboard's folder.
    """
    if asked is None or len(asked) > LENGTH_LIMIT:
        return url_for("ui.jobs")
    # twice, since a proxy on the way may decode once more
    for text in (asked, unquote(asked), unquote(unquote(asked))):
        path = text.partition("?")[0].partition("#")[0]
        is_plain = text.isprintable() and path.isascii() and not set(path) & {"\\", " "}
        has_steps = "//" in path or not {".", ".."}.isdisjoint(path.split("/"))
        if not is_plain or has_steps or not is_page(path) or path in ("/ui/login", "/ui/logout"):
            return url_for("ui.jobs")
    return asked if asked.isascii() and "\\" not in asked else url_for("ui.jobs")
