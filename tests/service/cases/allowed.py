"""Refusals of requests that are valid by the document: those that no JSON Schema can express, each with its reason."""

import re

from schemathesis.core.failures import AcceptedNegativeData, Failure, MalformedJson
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import RejectedPositiveData

TOO_LARGE = 413
RETRY, PARTIAL = "POST /v1/jobs/{job_id}/retry", "violates `required`"
ALLOWED = {
    "the specification can't be built": "whether a network can be built depends on its table, and on its size",
    "the rows can't be used as they are": "rows depend on the model, and a file has a form of its own",
    "the columns can't be used as they are": "columns depend on the model",
    "the file can't be imported": "a file has a form of its own",
    "the question can't be answered in this form": "layers, units, rows and checkpoints depend on the job",
    "a parameter is not what this job takes": "layers, members and checkpoints depend on the job",
    "the body does not fit this model": "versions depend on the model",
    "the request does not fit this model": "top_k depends on the model and on the media type of the answer",
    "the input ": "tensors depend on the model, and data on the datatype beside them",
    "the output ": "outputs depend on the model",
    "an output is asked for twice": "no schema can ask that one member is unique in a list of objects",
    "this job's newest event is": "events depend on the job",
    "this Idempotency-Key was used with another request": "the key depends on earlier requests",
    "the body is not gzip": "the body depends on Content-Encoding",
    "the body is not deflate": "the body depends on Content-Encoding",
    "the header Inference-Header-Content-Length says": "the header depends on the body",
    r"\d+ bytes are left over behind the inputs": "the header depends on the body",
    "the body is not what this address takes: should be an object$": "octets may be JSON of any kind",
    "the body is empty": "Inference-Header-Content-Length may say that no byte is JSON",
    "the body is not JSON": "Inference-Header-Content-Length may end the JSON early; octets may be anything",
    "the JSON is not UTF-8": "octets may be anything",
    "the content no longer has the ETag": "the ETag depends on the content",
}
"The beginning of the detail -> why the document can't say it."
ALLOWED_FAULTS = {
    "must be in Unicode's composed form": "no pattern has the few characters that grow when they are composed",
    "must be an integer of at most 64 bits": "to JSON Schema 1e300 is an integer; it is not refused",
    "(the name of a member )?must not contain NUL": "no schema can say this of every name and text in a free member",
    "must be at most 16384 bytes of JSON": "no schema counts bytes",
    "must be another mark than decimal": "no schema of one parameter knows another",
    "at most 10 numbers can mean a missing cell": "no schema counts the texts that are numbers",
}
"The same, of a fault of a body or parameter that is not what its address takes."

INVALID = "the body is not what this address takes: "


def detail(response: Response) -> str:
    """Return the detail of a refusal, in any of the three forms that an error has here."""
    document = response.json() if response.content else {}
    return str(document.get("detail") or document.get("error") or document.get("message") or "")


def reason_to_allow(failure: Failure, response: Response) -> str | None:
    """Return why a check's failure is not a fault of ours; None if it is one."""
    if isinstance(failure, RejectedPositiveData):
        return _reason(response)
    if isinstance(failure, AcceptedNegativeData) and response.status_code == TOO_LARGE:
        return "it is refused, though for its size"
    if isinstance(failure, AcceptedNegativeData) and failure.operation == RETRY and PARTIAL in failure.message:
        return "a patch may leave out members of an object that are already there; the document has whole objects"
    if failure.kind_title == MalformedJson.kind_title and response.content == b"\n":
        return "MLflow's own server answers ping with an empty line that it calls JSON"
    return None


def _reason(response: Response) -> str | None:
    """Return why the document can't say that such a request is refused."""
    faults = [_first(ALLOWED_FAULTS, fault["detail"]) for fault in response.json().get("errors", ())]
    if faults and None not in faults:
        return faults[0]
    said = detail(response)
    # other protocols have one sentence, which ends with the first fault, behind its place
    if said.startswith(INVALID):
        found = next((reason for fault, reason in ALLOWED_FAULTS.items() if re.search(fault, said)), None)
        return found or _first(ALLOWED, said)
    return _first(ALLOWED, said)


def _first(reasons: dict[str, str], said: str) -> str | None:
    return next((reason for beginning, reason in reasons.items() if re.match(beginning, said)), None)
