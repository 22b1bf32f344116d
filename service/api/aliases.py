"""Routes for aliases of a model's versions: list, set, move and remove them, and list their moves."""

from typing import Any

from sqlalchemy.orm import Session

from service.api.responses import INVALID, gone, page, problem, tagged
from service.conditional import conditional
from service.context import caller, parts, project_id
from service.operations import Answer, Operations
from service.problems import Problem
from service.reply import Reply, answer
from service.schemas import models as schemas
from service.schemas.common import Page
from worker.errors import NotFoundError
from worker.records.aliases import alias_history, get_alias, list_aliases, move_alias, remove_alias
from worker.records.models import get_model
from worker.records.snapshots import rfc3339
from worker.records.tables import Alias, AliasMove
from worker.records.versions import get_version
from worker.specs.base import NAME

operations = Operations("aliases")

NO_ALIAS = problem("No such model, or alias of it.")


@operations.declare(
    "GET",
    "/v1/models/<name>/aliases",
    policy="models:read",
    heavy=True,
    query=schemas.AliasesQuery,
    answers=tagged("By name.", schemas.AliasList) | {404: NO_ALIAS},
)
def index(name: str, query: schemas.AliasesQuery) -> Reply:
    """List a model's aliases."""
    with parts().database.reading() as session:
        found, more = list_aliases(session, project_id(), name, after=query.cursor, limit=query.limit)
    return page([_shown(name, row) for row in found], more, by="alias")


@operations.declare(
    "GET",
    "/v1/models/<name>/aliases/<alias>",
    policy="models:read",
    answers=tagged("The alias.", schemas.Alias) | {404: NO_ALIAS},
)
def show(name: str, alias: str) -> Reply:
    """Show which version an alias points at."""
    with parts().database.reading() as session:
        return conditional(answer(_shown(name, get_alias(session, project_id(), name, alias))))


@operations.declare(
    "PUT",
    "/v1/models/<name>/aliases/<alias>",
    policy="models:write",
    body=schemas.MoveRequest,
    answers={200: Answer("The alias as it is now.", schemas.Alias), 404: NO_ALIAS, 422: INVALID},
)
def move(name: str, alias: str, body: schemas.MoveRequest) -> Reply:
    """Point an alias at a version, newer or older; every client sees the move within a second."""
    if not NAME.fullmatch(alias):
        detail = "an alias is a letter or digit and up to 127 letters, digits, dots, underscores and hyphens"
        raise Problem(422, detail, errors=[{"parameter": "alias", "detail": detail}])

    def work(session: Session) -> dict[str, Any]:
        _check_version(session, name, body.version)
        return _shown(name, move_alias(session, project_id(), name, alias, body.version, by=caller()))

    moved = parts().database.write(work)
    parts().predictors.names_moved()
    return answer(moved)


def _check_version(session: Session, name: str, version: int) -> None:
    """Raise NotFoundError for an unknown model, which the address names; Problem for an unknown version in the body."""
    get_model(session, project_id(), name)
    try:
        get_version(session, project_id(), name, version)
    except NotFoundError as error:
        errors = [{"pointer": "/version", "detail": "the model has no such version"}]
        raise Problem(422, "the body does not fit this model", errors=errors) from error


@operations.declare(
    "DELETE",
    "/v1/models/<name>/aliases/<alias>",
    policy="models:write",
    answers={204: gone("Deleted; its history is kept."), 404: NO_ALIAS},
)
def remove(name: str, alias: str) -> Reply:
    """Delete an alias."""
    parts().database.write(lambda session: remove_alias(session, project_id(), name, alias, by=caller()))
    parts().predictors.names_moved()
    return Reply(status=204)


@operations.declare(
    "GET",
    "/v1/models/<name>/aliases/<alias>/history",
    policy="models:read",
    heavy=True,
    query=Page,
    answers=tagged("Newest first.", schemas.MoveList) | {404: NO_ALIAS},
)
def history(name: str, alias: str, query: Page) -> Reply:
    """List the moves of an alias: who, when, from which version to which."""
    with parts().database.reading() as session:
        moves, more = alias_history(session, project_id(), name, alias, before=query.cursor, limit=query.limit)
    return page([_shown_move(move) for move in moves], more)


def _shown(name: str, row: Alias) -> dict[str, Any]:
    model = f"/v1/models/{name}"
    own = f"{model}/aliases/{row.alias}"
    return {
        "alias": row.alias,
        "version": row.version,
        "updated_at": rfc3339(row.updated_at),
        "links": {
            "self": own,
            "version": f"{model}/versions/{row.version}",
            "predict": f"{own}/predict",
            "history": f"{own}/history",
        },
    }


def _shown_move(move: AliasMove) -> dict[str, Any]:
    return {
        "id": move.id,
        "alias": move.alias,
        "from": move.was,
        "to": move.became,
        "by": move.moved_by,
        "at": rfc3339(move.created_at),
    }
