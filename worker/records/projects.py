"""Projects, and links that log in to the dashboard once."""

import hashlib
import secrets

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from worker.records.clock import now, seconds_from_now
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.tables import LoginToken, Project

LOGIN_SECONDS = 86_400


def has_default_project(session: Session) -> bool:
    return session.scalar(select(Project.id).where(Project.id == DEFAULT_PROJECT)) is not None


def new_login_token(session: Session) -> str:
    """A token that logs in once within a day. Only its digest is kept."""
    token = secrets.token_urlsafe(24)
    session.execute(
        insert(LoginToken).values(
            sha256=_digest(token), project_id=DEFAULT_PROJECT, expires_at=seconds_from_now(LOGIN_SECONDS)
        )
    )
    return token


def use_login_token(session: Session, token: str) -> bool:
    """Whether the token was good; it is not from now on."""
    unused = update(LoginToken).where(
        LoginToken.sha256 == _digest(token), LoginToken.used_at.is_(None), LoginToken.expires_at > now()
    )
    return session.scalar(unused.values(used_at=now()).returning(LoginToken.sha256)) is not None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
