"""Accept the prediction of a whole table: check it, store it, ring for a worker."""

from typing import Any

from flask import Response, g, url_for

from service.context import parts, project_id
from service.idempotency import REPLAYED, earlier_answer, idempotent_request
from service.operations import answer
from service.predict.predictors import NamedPredictor
from service.predict.schemas import TableToPredict
from worker.data.encoders import NumberTarget
from worker.errors import SpecError
from worker.networks.predictor import Predictor
from worker.records.predictions import submit_prediction
from worker.records.snapshots import Snapshot
from worker.specs.prediction import PredictionOptions


def accept_table(found: NamedPredictor, dataset: TableToPredict, options: PredictionOptions) -> Response:
    """Answer 202 with the prediction, after the commit. Raises SpecError if the table can't be predicted."""
    known = idempotent_request()
    before = earlier_answer(known)
    if before is not None:
        return _accepted(before, replayed=True)
    _check(found.predictor, dataset, options)
    snapshot, replayed = parts().database.write(
        lambda session: submit_prediction(
            session,
            project_id(),
            weights_id=found.weights_id,
            served={"name": found.name, "version": found.version, "job_id": found.job_id},
            dataset=dataset.model_dump(mode="json"),
            options=options.model_dump(mode="json"),
            waiting_limit=parts().settings.limits.queued_jobs,
            request=known,
            request_id=g.request_id,
        )
    )
    if not replayed:
        parts().doorbell.ring(snapshot["id"])
    return _accepted(snapshot, replayed=replayed)


def _check(predictor: Predictor, dataset: TableToPredict, options: PredictionOptions) -> None:
    """Refuse what is known to fail without opening the table. The worker finds the rest."""
    profile = parts().datasets.profile(project_id(), dataset)
    for code in predictor.encoders.features:
        if profile.column(code.name) is None:
            raise SpecError("/dataset", f"has no column {code.name!r}, which is a feature of this model")
    if options.top_k is not None and isinstance(predictor.encoders.target, NumberTarget):
        raise SpecError("/top_k", "applies to classes; this model predicts numbers")


def _accepted(snapshot: Snapshot, *, replayed: bool) -> Response:
    headers = {"Location": url_for("tables.show", prediction_id=snapshot["id"])}
    return answer(with_links(snapshot), 202, headers | (REPLAYED if replayed else {}))


def with_links(snapshot: Snapshot) -> dict[str, Any]:
    """Return the prediction with its addresses."""
    own = f"/v1/predictions/{snapshot['id']}"
    return snapshot | {"links": {"self": own, "result": f"{own}/result"}}
