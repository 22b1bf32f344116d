"""Routes for predictions of whole tables: list and show them, download a result, and delete one."""

from typing import IO, Any

from service.api.responses import NOT_MODIFIED, gone, page, problem, tagged
from service.conditional import conditional
from service.context import parts, project_id
from service.idempotency import answered_once, replay_headers
from service.operations import Answer, Operations
from service.predict import schemas
from service.predict.predictors import NamedPredictor
from service.problems import Problem
from service.reply import Reply, answer
from service.request import request_id
from service.result_files import RESULTS, result_file
from service.schemas.common import Page
from worker.errors import MissingBytesError
from worker.intake.submission import ServedWeights
from worker.records.predictions import delete_prediction, get_prediction, list_predictions, prediction_snapshot
from worker.records.snapshots import Snapshot
from worker.records.tables import Prediction
from worker.specs.prediction import PredictionOptions

operations = Operations("tables")

NO_PREDICTION = problem("No such prediction.")


def accept_table(found: NamedPredictor, dataset: schemas.TableToPredict, options: PredictionOptions) -> Reply:
    """Answer 202 with the prediction, for the routes that predict. Raises SpecError if the table can't be predicted."""
    weights = ServedWeights(found.weights_id, found.predictor.encoders, found.name, found.version, found.job_id)
    answered = answered_once(
        lambda known: parts().intake.submit_prediction(
            project_id(), weights, dataset, options, request=known, request_id=request_id()
        )
    )
    headers = {"Location": f"/v1/predictions/{answered.answer['id']}"} | replay_headers(answered)
    return answer(_with_links(answered.answer), 202, headers)


@operations.declare(
    "GET",
    "/v1/predictions",
    policy="models:read",
    heavy=True,
    query=Page,
    answers=tagged("Newest first.", schemas.TablePredictionList),
)
def index(query: Page) -> Reply:
    """List predictions of whole tables."""
    with parts().database.reading() as session:
        rows, more = list_predictions(session, project_id(), before=query.cursor, limit=query.limit)
    return page([_with_links(prediction_snapshot(row)) for row in rows], more)


@operations.declare(
    "GET",
    "/v1/predictions/<prediction_id>",
    policy="models:read",
    answers=tagged("The prediction.", schemas.TablePrediction) | {404: NO_PREDICTION},
)
def show(prediction_id: str) -> Reply:
    """Show the prediction of a whole table."""
    return conditional(answer(_with_links(prediction_snapshot(_found(prediction_id)))))


@operations.declare(
    "GET",
    "/v1/predictions/<prediction_id>/result",
    policy="models:read",
    answers={
        200: Answer("One row for each row of the table, in the table's order.", None, RESULTS, {"ETag": ""}),
        304: NOT_MODIFIED,
        404: NO_PREDICTION,
        409: problem("It does not exist yet, or the prediction failed."),
    },
)
def result(prediction_id: str) -> Reply:
    """Download the predictions as CSV, as an Arrow stream, or as lines of JSON."""
    row = _found(prediction_id)
    if row.storage_key is None:
        code = "failed" if row.status == "failed" else "not_ready"
        raise Problem(409, f"there is no result: the prediction is {row.status}", code=code)
    return result_file(row.id, row.storage_key, lambda: _opened(row, str(row.storage_key)))


def _opened(row: Prediction, key: str) -> IO[bytes]:
    try:
        file: IO[bytes] = parts().storage.open(key)
    except FileNotFoundError as error:
        # 404 if it was deleted after the row was read; otherwise this storage is not the one that the worker wrote to
        _found(row.id)
        raise MissingBytesError(key) from error
    return file


@operations.declare(
    "DELETE",
    "/v1/predictions/<prediction_id>",
    policy="models:predict",
    answers={204: gone("Deleted, with its result."), 404: NO_PREDICTION},
)
def remove(prediction_id: str) -> Reply:
    """Delete a prediction and its result; one that is queued or running is abandoned."""
    key = parts().database.write(lambda session: delete_prediction(session, project_id(), prediction_id))
    if key is not None:
        parts().storage.delete(key)
    return Reply(status=204)


def _found(prediction_id: str) -> Prediction:
    with parts().database.reading() as session:
        return get_prediction(session, project_id(), prediction_id)


def _with_links(snapshot: Snapshot) -> dict[str, Any]:
    own = f"/v1/predictions/{snapshot['id']}"
    return snapshot | {"links": {"self": own, "result": f"{own}/result"}}
