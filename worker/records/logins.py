"""The tokens of links that log in to the dashboard once."""

import hashlib
import secrets

from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from worker.records.clock import now, seconds_from_now
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.tables import LoginToken

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


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
