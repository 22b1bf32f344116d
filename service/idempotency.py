"""The Idempotency-Key header: a repeat of a request gets the answer of the first."""

import hashlib
import re

from flask import request

from service.context import parts, project_id
from service.problems import Problem
from worker.records.idempotency import Request, find_answer
from worker.records.snapshots import Snapshot

KEY = re.compile(r"^[\x21-\x7e]{1,255}$")
HEADERS = {"Idempotency-Key": "A repeat with the same key and body gets the same answer, and makes nothing new."}
REPLAYED = {"Idempotency-Replayed": "true"}


def idempotent_request() -> Request | None:
    """The request as its key knows it; None without a key."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not KEY.fullmatch(key):
        raise Problem(400, "an Idempotency-Key is 1 to 255 printable ASCII characters", header="Idempotency-Key")
    sent = f"{request.method} {request.full_path}\n".encode() + request.get_data(cache=True)
    return Request(key, hashlib.sha256(sent).hexdigest())


def earlier_answer(known: Request | None) -> Snapshot | None:
    """What was answered to this request before; None if it is new. Asked before anything is worked out."""
    if known is None:
        return None
    with parts().database.reading() as session:
        return find_answer(session, project_id(), known)
