"""Versions of models: register them, find them by number or alias, list them, and delete them."""

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ScalarSelect, delete, insert, select, update
from sqlalchemy.orm import Session

from worker.errors import NotFoundError, StateError
from worker.records.identifiers import new_id
from worker.records.imports import delete_unserved_imports
from worker.records.models import VERSION_LIMIT, can_exist, get_model
from worker.records.paging import read_page
from worker.records.tables import Alias, Dataset, IdempotencyKey, Job, Model, ModelVersion, Weights


class Version(NamedTuple):
    """A version and the weights that it serves. job_id: the job that made them; None if they were imported."""

    name: str
    version: int
    weights_id: str
    job_id: str | None


@dataclass(frozen=True)
class VersionRecord:
    """A version with its origin.

    job: the job that made the weights; None if they were imported.
    dataset: the uploaded table that the job read; None if it read none.
    """

    name: str
    version: ModelVersion
    weights: Weights
    job: Job | None
    dataset: Dataset | None
    aliases: list[str]


def register_version(session: Session, project_id: str, name: str, weights_id: str) -> tuple[Version, bool]:
    """Return the version of this name that serves the weights, and whether it is new.

    A new version gets the next number; the first version creates the model. The model's row is locked until the commit,
    so two requests at the same time get different numbers. Raises NotFoundError if the project has no such weights.
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
    session.execute(update(Weights).where(Weights.id == weights_id, ~Weights.served).values(served=True))
    if found.job_id is not None:
        _name_in_job(session, found.job_id)
    return Version(name, number, weights_id, found.job_id), True


def _next_number(session: Session, project_id: str, name: str) -> tuple[str, int]:
    """Return the model's id and its next number, and lock its row. The model is created if it does not exist."""
    locked = select(Model.id, Model.last_version).where(Model.project_id == project_id, Model.name == name)
    row = session.execute(locked.with_for_update()).one_or_none()
    if row is not None:
        return row.id, row.last_version + 1
    model_id = new_id("mdl")
    # if two requests create the model at once, the unique name makes one of them fail; Database.write runs that one
    # again, and it finds the row
    session.execute(insert(Model).values(id=model_id, project_id=project_id, name=name, last_version=0))
    return model_id, 1


def _name_in_job(session: Session, job_id: str) -> None:
    """Write into the job's row which version serves its weights: the newest, or None if there is none."""
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
    """Return the version with this number, or the one that the alias points at, or without either the newest.

    Raises NotFoundError, with the same message for an unknown name, number or alias.
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
    if can_exist(name, version, alias):
        row = session.execute(found.order_by(ModelVersion.version.desc()).limit(1)).one_or_none()
    if row is None:
        raise NotFoundError("there is no such version of a model")
    return Version(*row)


def get_version(session: Session, project_id: str, name: str, version: int) -> VersionRecord:
    """Return a version with its origin. Raises NotFoundError."""
    model = get_model(session, project_id, name)
    records = _records(session, model, [version]) if version < VERSION_LIMIT else []
    if not records:
        raise NotFoundError("the model has no such version")
    return records[0]


def list_versions(
    session: Session, project_id: str, name: str, *, before: int | None = None, limit: int
) -> tuple[list[VersionRecord], bool]:
    """Return a page of a model's versions, newest first, and whether there are more.

    before: a number; only older versions are returned. Raises NotFoundError.
    """
    model = get_model(session, project_id, name)
    numbers = select(ModelVersion.version).where(ModelVersion.model_id == model.id)
    found, more = read_page(session, numbers, ModelVersion.version, before=before, limit=limit)
    return _records(session, model, found), more


def _records(session: Session, model: Model, numbers: list[int]) -> list[VersionRecord]:
    found = (
        select(ModelVersion, Weights, Job, Dataset)
        .join(Weights, Weights.id == ModelVersion.weights_id)
        .outerjoin(Job, Job.id == Weights.job_id)
        # a job may have other tables, for its parts
        .outerjoin(Dataset, Dataset.id == Job.spec[("dataset", "id")].as_string())
        .where(ModelVersion.model_id == model.id, ModelVersion.version.in_(numbers))
        .order_by(ModelVersion.version.desc())
    )
    aliases: dict[int, list[str]] = {}
    pointing = select(Alias.version, Alias.alias).where(Alias.model_id == model.id, Alias.version.in_(numbers))
    for version, alias in session.execute(pointing.order_by(Alias.alias)):
        aliases.setdefault(version, []).append(alias)
    return [VersionRecord(model.name, *row, aliases.get(row[0].version, [])) for row in session.execute(found)]


def newest_versions(session: Session, model_ids: list[str]) -> dict[str, int]:
    """Return the number of each model's newest version; a model without versions is left out."""
    found = session.execute(select(Model.id, _newest()).where(Model.id.in_(model_ids)))
    return {model_id: number for model_id, number in found if number is not None}


def first_models(session: Session, project_id: str, *, limit: int) -> list[tuple[str, int]]:
    """Return (name, number) of the newest version of each of the project's first models, by name.

    limit: how many models to look at; one without versions is left out.
    """
    found = select(Model.name, _newest()).where(Model.project_id == project_id).order_by(Model.name).limit(limit)
    return [(name, number) for name, number in session.execute(found) if number is not None]


def newest_numbers(session: Session, project_id: str, name: str, *, limit: int) -> list[int]:
    """Return the numbers of a model's newest versions in ascending order; none if there is no such model."""
    if not can_exist(name):
        return []
    found = select(ModelVersion.version).join(Model, Model.id == ModelVersion.model_id)
    found = found.where(Model.project_id == project_id, Model.name == name)
    return sorted(session.scalars(found.order_by(ModelVersion.version.desc()).limit(limit)))


def _newest() -> ScalarSelect[int]:
    """Return the number of a model's newest version, by its id: one look into an index for each model."""
    versions = select(ModelVersion.version).where(ModelVersion.model_id == Model.id)
    return versions.order_by(ModelVersion.version.desc()).limit(1).scalar_subquery()


def delete_version(session: Session, project_id: str, name: str, version: int) -> None:
    """Delete a version. Its number is not given again. A job's weights are kept; imported weights are deleted.

    Raises NotFoundError; StateError while an alias points at it, or while a job or a prediction needs imported weights.
    """
    model = get_model(session, project_id, name, lock=True)
    row = session.get(ModelVersion, (model.id, version)) if version < VERSION_LIMIT else None
    if row is None:
        raise NotFoundError("the model has no such version")
    _delete(session, model, [row])


def delete_model(session: Session, project_id: str, name: str) -> None:
    """Delete a model with its versions. Raises NotFoundError, and StateError as `delete_version` does."""
    model = get_model(session, project_id, name, lock=True)
    _delete(session, model, list(session.scalars(select(ModelVersion).where(ModelVersion.model_id == model.id))))
    session.execute(delete(Model).where(Model.id == model.id))


def _delete(session: Session, model: Model, rows: list[ModelVersion]) -> None:
    numbers, weights_ids = [row.version for row in rows], [row.weights_id for row in rows]
    pointing = select(Alias.alias).where(Alias.model_id == model.id, Alias.version.in_(numbers))
    alias = session.scalar(pointing.order_by(Alias.alias).limit(1))
    if alias is not None:
        raise StateError(f"the alias {alias} points at it; move or delete the alias first")
    jobs = list(session.scalars(select(Weights.job_id).where(Weights.id.in_(weights_ids)).distinct()))
    session.execute(delete(ModelVersion).where(ModelVersion.model_id == model.id, ModelVersion.version.in_(numbers)))
    still = select(ModelVersion.version).where(ModelVersion.weights_id == Weights.id).exists()
    session.execute(update(Weights).where(Weights.id.in_(weights_ids), ~still).values(served=False))
    for job_id in jobs:
        if job_id is not None:
            _name_in_job(session, job_id)
    # if a client repeats the request that imported them, they must be imported again
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.resource_id.in_(weights_ids)))
    delete_unserved_imports(session, weights_ids)
