"""Models by name: versions that are registered, and the one that a name, a number or an alias means."""

from typing import NamedTuple

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from worker.errors import NotFoundError
from worker.records.identifiers import new_id
from worker.records.tables import Alias, Job, Model, ModelVersion, Weights
from worker.specs.base import NAME

VERSION_LIMIT = 2**31


class Version(NamedTuple):
    """A version of a model: which weights it serves, and the job that made them (None: they were imported)."""

    name: str
    version: int
    weights_id: str
    job_id: str | None


def register_version(session: Session, project_id: str, name: str, weights_id: str) -> tuple[Version, bool]:
    """The next version of this name (the first makes the model), and whether it is new: the same weights have one.

    Two at the same time get two numbers: the model's row is held until the commit. Raises NotFoundError if the
    project has no such weights.
    """
    of_project = select(Weights.job_id).where(Weights.id == weights_id, Weights.project_id == project_id)
    found = session.execute(of_project).one_or_none()
    if found is None:
        raise NotFoundError("there are no such weights")
    model_id, number = _next_number(session, project_id, name)
    known = select(ModelVersion.version).where(ModelVersion.model_id == model_id, ModelVersion.weights_id == weights_id)
    earlier = session.scalar(known)
    if earlier is not None:
        return Version(name, earlier, weights_id, found.job_id), False
    session.execute(update(Model).where(Model.id == model_id).values(last_version=number))
    session.execute(
        insert(ModelVersion).values(model_id=model_id, project_id=project_id, version=number, weights_id=weights_id)
    )
    if found.job_id is not None:
        tell_job(session, found.job_id)
    return Version(name, number, weights_id, found.job_id), True


def _next_number(session: Session, project_id: str, name: str) -> tuple[str, int]:
    """The model's id and the number after the last it gave; its row is held."""
    held = select(Model.id, Model.last_version).where(Model.project_id == project_id, Model.name == name)
    row = session.execute(held.with_for_update()).one_or_none()
    if row is not None:
        return row.id, row.last_version + 1
    model_id = new_id("mdl")
    # of two that make the model at once, the unique name refuses one; Database.write runs it again, and it finds it
    session.execute(insert(Model).values(id=model_id, project_id=project_id, name=name, last_version=0))
    return model_id, 1


def tell_job(session: Session, job_id: str) -> None:
    """Write into the job's row which version has its weights: the newest, or none any more."""
    newest = (
        select(Model.name, ModelVersion.version)
        .join(Model, Model.id == ModelVersion.model_id)
        .join(Weights, Weights.id == ModelVersion.weights_id)
        .where(Weights.job_id == job_id)
        .order_by(ModelVersion.created_at.desc(), Model.name, ModelVersion.version.desc())
        .limit(1)
    )
    row = session.execute(newest).one_or_none()
    model = None if row is None else {"name": row.name, "version": row.version}
    session.execute(update(Job).where(Job.id == job_id).values(model=model))


def find_version(
    session: Session, project_id: str, name: str, *, version: int | None = None, alias: str | None = None
) -> Version:
    """The version of this number, the one that the alias points at, or with neither the newest.

    Raises NotFoundError, alike for a name, a number and an alias that are not there.
    """
    found = (
        select(Model.name, ModelVersion.version, ModelVersion.weights_id, Weights.job_id)
        .join(Model, Model.id == ModelVersion.model_id)
        .join(Weights, Weights.id == ModelVersion.weights_id)
        .where(Model.project_id == project_id, Model.name == name)
    )
    if version is not None:
        found = found.where(ModelVersion.version == version)
    if alias is not None:
        points = (Alias.model_id == ModelVersion.model_id) & (Alias.version == ModelVersion.version)
        found = found.join(Alias, points).where(Alias.alias == alias)
    row = None
    if askable(name, version, alias):
        row = session.execute(found.order_by(ModelVersion.version.desc()).limit(1)).one_or_none()
    if row is None:
        raise NotFoundError("there is no such version of a model")
    return Version(*row)


def askable(name: str, version: int | None = None, alias: str | None = None) -> bool:
    """Whether these could name anything at all: an address may hold text or numbers that PostgreSQL does not take."""
    names = all(NAME.fullmatch(text) for text in (name, alias) if text is not None)
    return names and (version is None or version < VERSION_LIMIT)
