"""The network's outputs -> an answer in a media type that the client accepts."""

from typing import Any

from service.csv_text import csv_bytes
from service.parsing import JSON_TYPE
from service.predict.predictors import NamedPredictor
from service.predict.requests import BODIES
from service.reply import Reply, answer
from service.request import request
from worker.data.arrow_streams import write_arrow_stream
from worker.data.npy import NPY, write_npy
from worker.data.readers import ARROW, CSV
from worker.networks.outputs import Outputs
from worker.specs.prediction import PredictionOptions

WARNINGS = "Prediction-Warnings"


def accepted_media_type() -> str:
    """Return the media type that Accept asks for; if it leaves a choice, that of the request's body."""
    own = request().mimetype
    if request().accepts_anything:
        return own
    return request().accept_mimetypes.best_match([own, *(kind for kind in BODIES if kind != own)]) or own


def write_answer(found: NamedPredictor, outputs: Outputs, options: PredictionOptions, media_type: str) -> Reply:
    """Return the answer. Raises SpecError for an option that does not apply to the model or the media type."""
    if media_type == JSON_TYPE:
        return answer(_json_document(found, outputs, options))
    if media_type == NPY:
        content, content_type = write_npy(outputs.array(options)), NPY
    elif media_type == ARROW:
        content, content_type = write_arrow_stream(outputs.table(options)), ARROW
    else:
        content, content_type = csv_bytes(outputs.table(options)), f"{CSV}; charset=utf-8"
    headers = {WARNINGS: str(outputs.warnings.total)} if outputs.warnings.total else {}
    return Reply(content, content_type=content_type, headers=headers)


def _json_document(found: NamedPredictor, outputs: Outputs, options: PredictionOptions) -> dict[str, Any]:
    prediction = outputs.prediction()
    document: dict[str, Any] = {
        "model": {"name": found.name, "version": found.version, "job_id": found.job_id},
        "predictions": prediction.predictions,
    }
    numbers = prediction.classes is None
    if options.top_k is not None:
        document["top"] = _top(outputs, options.top_k, probabilities=options.probabilities)
    elif not numbers:
        document["classes"] = prediction.classes
        if options.probabilities:
            document["probabilities"] = prediction.probabilities
    if prediction.spread is not None and (numbers or (options.probabilities and options.top_k is None)):
        document["spread"] = prediction.spread
    if prediction.warnings.total:
        document["warnings"] = prediction.warnings.first
    return document


def _top(outputs: Outputs, k: int, *, probabilities: bool) -> list[list[dict[str, Any]]]:
    """Return the k most probable classes of each row, with their probabilities if asked for."""
    called, probable = outputs.top(k)
    if not probabilities:
        return [[{"class": name} for name in row] for row in called]
    return [
        [{"class": name, "probability": p} for name, p in zip(row, ps, strict=True)]
        for row, ps in zip(called, probable.tolist(), strict=True)
    ]
