"""Aliases: names that point at a version and are moved, with a history of who moved them, when and whither."""

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from worker.errors import NotFoundError
from worker.records.clock import now
from worker.records.identifiers import new_id
from worker.records.models import can_exist, get_model
from worker.records.tables import Alias, AliasMove, Model, ModelVersion


def move_alias(session: Session, project_id: str, name: str, alias: str, version: int, *, by: str) -> Alias:
    """Point the alias at a version, from this transaction's commit on; to go back is to move it again.

    by: who asked, for the history; a move to where it points already is none. Raises NotFoundError.
    """
    model = get_model(session, project_id, name, lock=True)
    if session.get(ModelVersion, (model.id, version)) is None:
        raise NotFoundError("the model has no such version")
    row = session.get(Alias, (model.id, alias))
    was = None if row is None else row.version
    if row is None:
        row = Alias(model_id=model.id, project_id=project_id, alias=alias, version=version)
        session.add(row)
    elif was != version:
        row.version = version
        row.updated_at = now()
    if was != version:
        _note(session, model, alias, was=was, became=version, moved_by=by)
    session.flush()
    session.refresh(row)
    return row


def remove_alias(session: Session, project_id: str, name: str, alias: str, *, by: str) -> None:
    """Raises NotFoundError. The history stays."""
    model = get_model(session, project_id, name, lock=True)
    row = session.get(Alias, (model.id, alias)) if can_exist(alias) else None
    if row is None:
        raise NotFoundError("the model has no such alias")
    _note(session, model, alias, was=row.version, became=None, moved_by=by)
    session.execute(delete(Alias).where(Alias.model_id == model.id, Alias.alias == alias))


def _note(session: Session, model: Model, alias: str, **move: Any) -> None:
    session.add(AliasMove(id=new_id("mov"), project_id=model.project_id, model_id=model.id, alias=alias, **move))


def get_alias(session: Session, project_id: str, name: str, alias: str) -> Alias:
    """Raises NotFoundError."""
    model = get_model(session, project_id, name)
    row = session.get(Alias, (model.id, alias)) if can_exist(alias) else None
    if row is None:
        raise NotFoundError("the model has no such alias")
    return row


def list_aliases(
    session: Session, project_id: str, name: str, *, after: str | None = None, limit: int
) -> tuple[list[Alias], bool]:
    """A model's aliases in order of their names, and whether there are more. after: an alias; only later ones."""
    found = select(Alias).where(Alias.model_id == get_model(session, project_id, name).id)
    if after is not None:
        found = found.where(Alias.alias > after)
    rows = list(session.scalars(found.order_by(Alias.alias).limit(limit + 1)))
    return rows[:limit], len(rows) > limit


def alias_history(
    session: Session, project_id: str, name: str, alias: str, *, before: str | None = None, limit: int
) -> tuple[list[AliasMove], bool]:
    """Its moves, newest first, and whether there are more; also those of an alias that is gone. before: a move's id.

    Raises NotFoundError if there never was such an alias.
    """
    model = get_model(session, project_id, name)
    moves = select(AliasMove).where(AliasMove.model_id == model.id, AliasMove.alias == alias)
    if before is not None:
        moves = moves.where(AliasMove.id < before)
    rows = list(session.scalars(moves.order_by(AliasMove.id.desc()).limit(limit + 1))) if can_exist(alias) else []
    if not rows and before is None:
        raise NotFoundError("the model never had such an alias")
    return rows[:limit], len(rows) > limit
