"""Every model that can be asked for, by name and number."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.records.models import askable
from worker.records.tables import Model, ModelVersion


def every_version(session: Session, project_id: str, name: str | None = None) -> list[tuple[str, int]]:
    """Names and version numbers of the project, or of one model: by name, then by number."""
    found = (
        select(Model.name, ModelVersion.version)
        .join(ModelVersion, ModelVersion.model_id == Model.id)
        .where(Model.project_id == project_id)
    )
    if name is not None:
        if not askable(name):
            return []
        found = found.where(Model.name == name)
    return [(row.name, row.version) for row in session.execute(found.order_by(Model.name, ModelVersion.version))]
