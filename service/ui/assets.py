"""Scripts and styles, at addresses that change with their content, so that a browser may keep them for ever."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from flask import current_app, send_from_directory, url_for
from werkzeug.wrappers import Response

FOLDER = Path(__file__).parent / "static"
FOR_EVER = "public, max-age=31536000, immutable"


def content_version() -> str:
    """Return a digest of the whole folder. Modules import each other by relative addresses, which contain it."""
    digest = hashlib.sha256()
    for path in sorted(path for path in FOLDER.rglob("*") if path.is_file()):
        digest.update(path.relative_to(FOLDER).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def addresses(version: str) -> Callable[[str], str]:
    return lambda name: url_for("ui.asset", version=version, name=name)


def asset(version: str, name: str) -> Response:
    response = send_from_directory(FOLDER, name)
    # otherwise it is another version's address: while two versions run, a page of one may ask a process of the other
    current = version == current_app.config["UI_VERSION"]
    response.headers["Cache-Control"] = FOR_EVER if current else "no-cache"
    return response
