"""Models: names under which versions are registered."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.errors import NotFoundError
from worker.records.paging import read_page
from worker.records.tables import Model
from worker.specs.base import NAME

VERSION_LIMIT = 2**31


def can_exist(name: str, version: int | None = None, alias: str | None = None) -> bool:
    """Return whether these could be stored at all. A URL's path may hold text or numbers that PostgreSQL refuses."""
    names = all(NAME.fullmatch(text) for text in (name, alias) if text is not None)
    return names and (version is None or version < VERSION_LIMIT)


def get_model(session: Session, project_id: str, name: str, *, lock: bool = False) -> Model:
    """Return the model. Raises NotFoundError. lock: keep other writers from changing it until the commit."""
    found = select(Model).where(Model.project_id == project_id, Model.name == name)
    model = session.scalar(found.with_for_update() if lock else found) if can_exist(name) else None
    if model is None:
        raise NotFoundError("there is no such model")
    return model


def list_models(
    session: Session, project_id: str, *, before: str | None = None, limit: int
) -> tuple[list[Model], bool]:
    """Return a page of models, newest first, and whether there are more. before: an id; older ones only."""
    return read_page(session, select(Model).where(Model.project_id == project_id), Model.id, before=before, limit=limit)


def describe_model(session: Session, project_id: str, name: str, description: str) -> Model:
    """Replace a model's description. Raises NotFoundError."""
    model = get_model(session, project_id, name, lock=True)
    model.description = description
    session.flush()
    return model
