"""Logins to the dashboard: links that log in once, and the sessions that they or a key begin."""

import hashlib
import secrets

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from worker.records.clock import now, seconds_from_now
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.tables import LoginToken, UiSession

LOGIN_SECONDS = 86_400


def new_login_token(session: Session) -> str:
    """Store a token that logs in once, within a day, and return it. Only its digest is stored."""
    token = secrets.token_urlsafe(24)
    session.execute(
        insert(LoginToken).values(
            sha256=_digest(token), project_id=DEFAULT_PROJECT, expires_at=seconds_from_now(LOGIN_SECONDS)
        )
    )
    return token


def use_login_token(session: Session, token: str) -> bool:
    """Use up a token, and return whether it was valid."""
    unused = update(LoginToken).where(
        LoginToken.sha256 == _digest(token), LoginToken.used_at.is_(None), LoginToken.expires_at > now()
    )
    return session.scalar(unused.values(used_at=now()).returning(LoginToken.sha256)) is not None


def begin_session(session: Session, *, seconds: float) -> str:
    """Store a session that expires after this many seconds, and return its token. Only its digest is stored."""
    token = secrets.token_urlsafe(24)
    session.execute(
        insert(UiSession).values(
            sha256=_digest(token), project_id=DEFAULT_PROJECT, expires_at=seconds_from_now(seconds)
        )
    )
    return token


def find_session(session: Session, token: str) -> str | None:
    """Return the project of a session; None if it was ended, has expired, or never existed."""
    return session.scalar(
        select(UiSession.project_id).where(UiSession.sha256 == _digest(token), UiSession.expires_at > now())
    )


def end_session(session: Session, token: str) -> None:
    """Delete a session: its token is worth nothing from now on."""
    session.execute(delete(UiSession).where(UiSession.sha256 == _digest(token)))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
