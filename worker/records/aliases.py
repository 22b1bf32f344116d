"""Aliases: names that point at a version and can be moved, and the history of their moves."""

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from worker.errors import NotFoundError
from worker.records.clock import now
from worker.records.identifiers import new_id
from worker.records.models import can_exist, get_model
from worker.records.paging import read_page
from worker.records.tables import Alias, AliasMove, Model, ModelVersion


def move_alias(session: Session, project_id: str, name: str, alias: str, version: int, *, by: str) -> Alias:
    """Point the alias at a version. To go back, move it again. Raises NotFoundError.

    by: who asked, for the history. A move to the same version is not added to the history.
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
        _add_move(session, model, alias, was=was, became=version, moved_by=by)
    session.flush()
    session.refresh(row)
    return row


def remove_alias(session: Session, project_id: str, name: str, alias: str, *, by: str) -> None:
    """Delete the alias; its history is kept. Raises NotFoundError."""
    model = get_model(session, project_id, name, lock=True)
    row = session.get(Alias, (model.id, alias)) if can_exist(alias) else None
    if row is None:
        raise NotFoundError("the model has no such alias")
    _add_move(session, model, alias, was=row.version, became=None, moved_by=by)
    session.execute(delete(Alias).where(Alias.model_id == model.id, Alias.alias == alias))


def _add_move(session: Session, model: Model, alias: str, **move: Any) -> None:
    session.add(AliasMove(id=new_id("mov"), project_id=model.project_id, model_id=model.id, alias=alias, **move))


def get_alias(session: Session, project_id: str, name: str, alias: str) -> Alias:
    """Return the alias. Raises NotFoundError."""
    model = get_model(session, project_id, name)
    row = session.get(Alias, (model.id, alias)) if can_exist(alias) else None
    if row is None:
        raise NotFoundError("the model has no such alias")
    return row


def list_aliases(
    session: Session, project_id: str, name: str, *, after: str | None = None, limit: int
) -> tuple[list[Alias], bool]:
    """Return a page of a model's aliases, ordered by name, and whether there are more.

    after: an alias; only later ones are returned. Raises NotFoundError.
    """
    found = select(Alias).where(Alias.model_id == get_model(session, project_id, name).id)
    return read_page(session, found, Alias.alias, after=after, ascending=True, limit=limit)


def alias_history(
    session: Session, project_id: str, name: str, alias: str, *, before: str | None = None, limit: int
) -> tuple[list[AliasMove], bool]:
    """Return a page of an alias's moves, newest first, and whether there are more. The alias may have been deleted.

    before: the id of a move; only older ones are returned. Raises NotFoundError if the alias never existed.
    """
    model = get_model(session, project_id, name)
    if not can_exist(alias):
        raise NotFoundError("the model never had such an alias")
    moves = select(AliasMove).where(AliasMove.model_id == model.id, AliasMove.alias == alias)
    found, more = read_page(session, moves, AliasMove.id, before=before, limit=limit)
    if not found and before is None:
        raise NotFoundError("the model never had such an alias")
    return found, more
