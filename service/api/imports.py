"""The route that imports a network from a file as a new version of a model."""

from flask import request as form
from sqlalchemy.orm import Session

from service.api.responses import INVALID, problem
from service.api.versions import shown_version
from service.context import parts, project_id
from service.idempotency import HEADERS as IDEMPOTENCY
from service.idempotency import answered_once, replay_headers
from service.json_text import parse_json
from service.operations import Answer, Operations
from service.parsing import validate
from service.problems import Problem
from service.reply import Reply, answer
from service.request import request
from service.schemas import imports as schemas
from service.schemas.models import Version
from worker.intake.parsers import parse_network
from worker.records.blobs import write_blob
from worker.records.idempotency import Answered, Made, Request, answer_once
from worker.records.imports import publish_import
from worker.records.models import can_exist
from worker.records.versions import get_version, register_version
from worker.specs.imports import Description

operations = Operations("imports")

BINARY, MULTIPART = "application/octet-stream", "multipart/form-data"
FILE, DESCRIPTION = "file", "description"


@operations.declare(
    "POST",
    "/v1/models/<name>/versions",
    policy="models:write",
    query=schemas.ImportQuery,
    accepts=(BINARY, MULTIPART),
    documented_body=Description,
    headers=IDEMPOTENCY,
    answers={
        201: Answer("The new version.", Version, headers={"Location": "The version."}),
        415: problem("Neither bytes nor a multipart form."),
        422: INVALID,
    },
)
def import_version(name: str, query: schemas.ImportQuery) -> Reply:
    """Import a trained network as the body, or as multipart `file` with a JSON `description`."""
    if not can_exist(name):
        detail = "must be letters, digits, dot, underscore and hyphen, at most 128"
        raise Problem(422, "a model can't have this name", errors=[{"parameter": "name", "detail": detail}])
    answered = answered_once(lambda known: _import(name, query.format, known))
    shown = answered.answer
    place = f"/v1/models/{shown['name']}/versions/{shown['version']}"
    return answer(shown, 201, {"Location": place} | replay_headers(answered))


def _import(name: str, kind: schemas.Format, known: Request | None) -> Answered:
    content, description = _sent()
    columns, weights = parse_network(parts().sandbox, content, kind, description, parts().settings.limits)
    blob_id = write_blob(parts().database, project_id(), weights)

    def work(session: Session) -> Answered:
        def make() -> Made:
            weights_id = publish_import(session, project_id(), columns, blob_id)
            version, _ = register_version(session, project_id(), name, weights_id)
            return Made(shown_version(get_version(session, project_id(), name, version.version)), weights_id)

        return answer_once(session, project_id(), known, make)

    answered = parts().database.write(work)
    parts().predictors.names_moved()
    return answered


def _sent() -> tuple[bytes, Description | None]:
    """Return the file's bytes, and the client's description of it."""
    if request().mimetype == BINARY:
        return request().body, None
    if request().mimetype != MULTIPART:
        raise Problem(415, f"the body must be {BINARY}, or {MULTIPART} with the parts {FILE} and {DESCRIPTION}")
    file, text = form.files.get(FILE), form.form.get(DESCRIPTION)
    unknown = ({*form.files} - {FILE}) | ({*form.form} - {DESCRIPTION})
    if file is None or unknown or len(form.files) + len(form.form) != 1 + (text is not None):
        raise Problem(400, f"a multipart import has the parts {FILE} and, if needed, {DESCRIPTION}")
    # the name and type that the client gives for the file are ignored
    with file.stream as stream:
        content: bytes = stream.read()
    return content, None if text is None else validate(Description, parse_json(text.encode()))
