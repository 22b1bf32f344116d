"""Routes for models: register, list, show, describe and delete them."""

from typing import Any

from sqlalchemy.orm import Session

from service.api.responses import INVALID, NO_MODEL, NOT_FOUND, gone, page, problem, tagged
from service.api.versions import shown_version
from service.conditional import conditional
from service.context import parts, project_id
from service.idempotency import HEADERS as IDEMPOTENCY
from service.idempotency import answered_once, replay_headers
from service.operations import Answer, Operations
from service.reply import Reply, answer
from service.schemas import models as schemas
from service.schemas.common import Page
from worker.records.idempotency import Answered, Made, Request, answer_once
from worker.records.jobs import get_job
from worker.records.models import describe_model, get_model, list_models
from worker.records.snapshots import rfc3339
from worker.records.tables import Model
from worker.records.versions import delete_model, get_version, newest_versions, register_version
from worker.records.weights import find_weights_id

operations = Operations("models")


@operations.declare(
    "POST",
    "/v1/models",
    policy="models:write",
    body=schemas.RegisterRequest,
    headers=IDEMPOTENCY,
    answers={
        201: Answer("The new version.", schemas.Version, headers={"Location": "The version."}),
        200: Answer("The model already has a version with these weights.", schemas.Version),
        404: NOT_FOUND,
        409: problem("The job has not succeeded."),
        422: INVALID,
    },
)
def register(body: schemas.RegisterRequest) -> Reply:
    """Make a job's final weights the next version of a model; the first version creates the model."""
    answered = answered_once(lambda known: parts().database.write(lambda session: _register(session, body, known)))
    if not answered.replayed:
        parts().predictors.names_moved()
        parts().doorbell.announce(body.job_id)
    shown = answered.answer
    place = f"/v1/models/{shown['name']}/versions/{shown['version']}"
    return answer(shown, 201 if answered.new else 200, {"Location": place} | replay_headers(answered))


def _register(session: Session, body: schemas.RegisterRequest, known: Request | None) -> Answered:
    def make() -> Made:
        get_job(session, project_id(), body.job_id)
        weights_id = find_weights_id(session, body.job_id, "final")
        version, new = register_version(session, project_id(), body.name, weights_id)
        shown = shown_version(get_version(session, project_id(), body.name, version.version))
        return Made(shown, body.job_id, new)

    return answer_once(session, project_id(), known, make)


@operations.declare(
    "GET",
    "/v1/models",
    policy="models:read",
    heavy=True,
    query=Page,
    answers=tagged("Newest first.", schemas.ModelList),
)
def index(query: Page) -> Reply:
    """List models."""
    with parts().database.reading() as session:
        models, more = list_models(session, project_id(), before=query.cursor, limit=query.limit)
        newest = newest_versions(session, [model.id for model in models])
    return page([_shown(model, newest.get(model.id)) for model in models], more)


@operations.declare(
    "GET",
    "/v1/models/<name>",
    policy="models:read",
    answers=tagged("The model.", schemas.Model) | {404: NO_MODEL},
)
def show(name: str) -> Reply:
    """Show a model."""
    with parts().database.reading() as session:
        model = get_model(session, project_id(), name)
        return conditional(answer(_shown(model, newest_versions(session, [model.id]).get(model.id))))


@operations.declare(
    "PATCH",
    "/v1/models/<name>",
    policy="models:write",
    body=schemas.DescribeRequest,
    answers={200: Answer("The model.", schemas.Model), 404: NO_MODEL, 422: INVALID},
)
def describe(name: str, body: schemas.DescribeRequest) -> Reply:
    """Change a model's description."""

    def work(session: Session) -> dict[str, Any]:
        model = describe_model(session, project_id(), name, body.description)
        return _shown(model, newest_versions(session, [model.id]).get(model.id))

    return answer(parts().database.write(work))


@operations.declare(
    "DELETE",
    "/v1/models/<name>",
    policy="models:write",
    answers={
        204: gone("Deleted, with its versions; their weights stay with their jobs."),
        404: NO_MODEL,
        409: problem("An alias points at a version."),
    },
)
def remove(name: str) -> Reply:
    """Delete a model that no alias points at."""
    parts().database.write(lambda session: delete_model(session, project_id(), name))
    parts().predictors.names_moved()
    return Reply(status=204)


def _shown(model: Model, newest: int | None) -> dict[str, Any]:
    own = f"/v1/models/{model.name}"
    return {
        "id": model.id,
        "name": model.name,
        "description": model.description,
        "latest_version": newest,
        "created_at": rfc3339(model.created_at),
        "links": {"self": own} | {name: f"{own}/{name}" for name in ("versions", "aliases", "predict")},
    }
