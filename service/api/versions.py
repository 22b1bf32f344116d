"""Routes for versions of a model: list, show and delete them."""

from typing import Any

from service.api.responses import NO_VERSION, gone, page, problem, tagged
from service.conditional import conditional
from service.context import parts, project_id
from service.operations import Operations
from service.reply import Reply, answer
from service.schemas import models as schemas
from worker.data.encoders import ClassTarget, Encoders, LabelsTarget
from worker.networks.row_schema import row_schema
from worker.records.snapshots import rfc3339
from worker.records.versions import VersionRecord, delete_version, get_version, list_versions

operations = Operations("versions")


@operations.declare(
    "GET",
    "/v1/models/<name>/versions",
    policy="models:read",
    heavy=True,
    query=schemas.VersionsQuery,
    answers=tagged("Newest first.", schemas.VersionList) | {404: NO_VERSION},
)
def index(name: str, query: schemas.VersionsQuery) -> Reply:
    """List a model's versions."""
    with parts().database.reading() as session:
        found, more = list_versions(session, project_id(), name, before=query.cursor, limit=query.limit)
    return page([brief_version(record) for record in found], more, by="version")


@operations.declare(
    "GET",
    "/v1/models/<name>/versions/<int:version>",
    policy="models:read",
    answers=tagged("The version.", schemas.Version) | {404: NO_VERSION},
)
def show(name: str, version: int) -> Reply:
    """Show a version: what it was made from, how good it is, and what a row of its input looks like."""
    with parts().database.reading() as session:
        return conditional(answer(shown_version(get_version(session, project_id(), name, version))))


@operations.declare(
    "DELETE",
    "/v1/models/<name>/versions/<int:version>",
    policy="models:write",
    answers={
        204: gone("Deleted; its weights stay with their job, and its number is not used again."),
        404: NO_VERSION,
        409: problem("An alias points at it."),
    },
)
def remove(name: str, version: int) -> Reply:
    """Delete a version that no alias points at."""
    parts().database.write(lambda session: delete_version(session, project_id(), name, version))
    parts().predictors.names_moved()
    return Reply(status=204)


def shown_version(record: VersionRecord) -> dict[str, Any]:
    """Return the version as its own route shows it."""
    return brief_version(record) | {"input_schema": row_schema(Encoders.model_validate(record.weights.encoders))}


def brief_version(record: VersionRecord) -> dict[str, Any]:
    """Return the version as a list shows it."""
    model, job = f"/v1/models/{record.name}", record.job
    own = f"{model}/versions/{record.version.version}"
    evaluation = (job.evaluation if job else None) or {}
    return {
        "name": record.name,
        "version": record.version.version,
        "aliases": record.aliases,
        "job_id": record.weights.job_id,
        "epoch": record.weights.epoch,
        "parameters": job.parameters if job else None,
        "classes": _classes(record),
        "metrics": {part: _figures(evaluation.get(part)) for part in ("validation", "test")},
        "data": _data(record),
        "created_at": rfc3339(record.version.created_at),
        "links": {
            "self": own,
            "model": model,
            "predict": f"{own}/predict",
            "job": f"/v1/jobs/{job.id}" if job else None,
        },
    }


def _classes(record: VersionRecord) -> list[str] | None:
    target = Encoders.model_validate(record.weights.encoders).target
    if isinstance(target, ClassTarget):
        return list(target.classes)
    return list(target.names) if isinstance(target, LabelsTarget) else None


def _figures(part: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if part is None else {name: part[name] for name in ("loss", "rows", "metrics")}


def _data(record: VersionRecord) -> dict[str, Any] | None:
    """Return the table that the version was trained on, with its digest, by which it can be recognised."""
    if record.job is None:
        return None
    dataset: dict[str, Any] = record.job.spec["dataset"]
    if record.dataset is None:
        return dataset
    return dataset | {"name": record.dataset.name, "sha256": record.dataset.sha256, "rows": record.dataset.rows}
