"""Models and their versions as a reader sees them, and their removal."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from worker.errors import NotFoundError, StateError
from worker.records.imports import delete_unserved_imports
from worker.records.models import VERSION_LIMIT, askable, tell_job
from worker.records.tables import Alias, Dataset, IdempotencyKey, Job, JobDataset, Model, ModelVersion, Weights


@dataclass(frozen=True)
class VersionRecord:
    """A version with what it came from. job, dataset: None of imported weights, and where no upload was trained on."""

    name: str
    version: ModelVersion
    weights: Weights
    job: Job | None
    dataset: Dataset | None
    aliases: list[str]


def get_model(session: Session, project_id: str, name: str) -> Model:
    """Raises NotFoundError, alike for another project's and an unknown name."""
    found = select(Model).where(Model.project_id == project_id, Model.name == name)
    model = session.scalar(found) if askable(name) else None
    if model is None:
        raise NotFoundError("there is no such model")
    return model


def held_model(session: Session, project_id: str, name: str) -> Model:
    """The model, held against other writers until the commit. Raises NotFoundError."""
    found = select(Model).where(Model.project_id == project_id, Model.name == name).with_for_update()
    model = session.scalar(found) if askable(name) else None
    if model is None:
        raise NotFoundError("there is no such model")
    return model


def list_models(
    session: Session, project_id: str, *, before: str | None = None, limit: int
) -> tuple[list[Model], bool]:
    """Models newest first, and whether there are more. before: an id; only older ones."""
    found = select(Model).where(Model.project_id == project_id)
    if before is not None:
        found = found.where(Model.id < before)
    rows = list(session.scalars(found.order_by(Model.id.desc()).limit(limit + 1)))
    return rows[:limit], len(rows) > limit


def newest_versions(session: Session, model_ids: list[str]) -> dict[str, int]:
    """The number of each model's newest version; none of a model whose versions are all deleted."""
    found = select(ModelVersion.model_id, func.max(ModelVersion.version)).where(ModelVersion.model_id.in_(model_ids))
    return dict(session.execute(found.group_by(ModelVersion.model_id)).all())


def list_versions(
    session: Session, project_id: str, name: str, *, before: int | None = None, limit: int
) -> tuple[list[VersionRecord], bool]:
    """A model's versions newest first, and whether there are more. before: a number; only older ones."""
    model = get_model(session, project_id, name)
    numbers = select(ModelVersion.version).where(ModelVersion.model_id == model.id)
    if before is not None:
        numbers = numbers.where(ModelVersion.version < before)
    found = list(session.scalars(numbers.order_by(ModelVersion.version.desc()).limit(limit + 1)))
    return _records(session, model, found[:limit]), len(found) > limit


def get_version(session: Session, project_id: str, name: str, version: int) -> VersionRecord:
    """Raises NotFoundError."""
    model = get_model(session, project_id, name)
    records = _records(session, model, [version]) if version < VERSION_LIMIT else []
    if not records:
        raise NotFoundError("the model has no such version")
    return records[0]


def _records(session: Session, model: Model, numbers: list[int]) -> list[VersionRecord]:
    found = (
        select(ModelVersion, Weights, Job, Dataset)
        .join(Weights, Weights.id == ModelVersion.weights_id)
        .outerjoin(Job, Job.id == Weights.job_id)
        .outerjoin(JobDataset, JobDataset.job_id == Job.id)
        .outerjoin(Dataset, Dataset.id == JobDataset.dataset_id)
        .where(ModelVersion.model_id == model.id, ModelVersion.version.in_(numbers))
        .order_by(ModelVersion.version.desc())
    )
    aliases: dict[int, list[str]] = {}
    pointing = select(Alias.version, Alias.alias).where(Alias.model_id == model.id, Alias.version.in_(numbers))
    for version, alias in session.execute(pointing.order_by(Alias.alias)):
        aliases.setdefault(version, []).append(alias)
    return [VersionRecord(model.name, *row, aliases.get(row[0].version, [])) for row in session.execute(found)]


def describe_model(session: Session, project_id: str, name: str, description: str) -> Model:
    """Raises NotFoundError."""
    model = held_model(session, project_id, name)
    model.description = description
    session.flush()
    return model


def delete_version(session: Session, project_id: str, name: str, version: int) -> None:
    """Remove a version; its weights stay with their job. Raises NotFoundError, StateError while an alias points at it.

    Its number is not given again.
    """
    model = held_model(session, project_id, name)
    row = session.get(ModelVersion, (model.id, version)) if version < VERSION_LIMIT else None
    if row is None:
        raise NotFoundError("the model has no such version")
    _delete(session, model, [row])


def delete_model(session: Session, project_id: str, name: str) -> None:
    """Remove a model with its versions. Raises NotFoundError, StateError while an alias points at one."""
    model = held_model(session, project_id, name)
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
    for job_id in jobs:
        if job_id is not None:
            tell_job(session, job_id)
    # a repeat of the request that imported them must import again
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.resource_id.in_(weights_ids)))
    delete_unserved_imports(session, weights_ids)
