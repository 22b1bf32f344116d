"""A whole table is to be predicted: submitted, and answered."""

from typing import Any

from flask import Response, g, url_for

from service.context import parts, project_id
from service.idempotency import answered_once, replay_headers
from service.operations import answer
from service.predictors import Served
from service.schemas.predictions import TableToPredict
from worker.intake.submission import ServedWeights
from worker.records.snapshots import Snapshot
from worker.specs.prediction import PredictionOptions


def accept_table(served: Served, dataset: TableToPredict, options: PredictionOptions) -> Response:
    """Answer 202 with the prediction. Raises SpecError if the table can't be predicted."""
    weights = ServedWeights(served.weights_id, served.predictor.encoders, served.name, served.version, served.job_id)
    answered = answered_once(
        lambda known: parts().intake.submit_prediction(
            project_id(), weights, dataset, options, request=known, request_id=g.request_id
        )
    )
    headers = {"Location": url_for("tables.show", prediction_id=answered.answer["id"])} | replay_headers(answered)
    return answer(with_links(answered.answer), 202, headers)


def with_links(snapshot: Snapshot) -> dict[str, Any]:
    own = f"/v1/predictions/{snapshot['id']}"
    return snapshot | {"links": {"self": own, "result": f"{own}/result"}}
