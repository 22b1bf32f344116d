"""The Idempotency-Key header: a repeated request gets the answer of the first."""

import hashlib
import re
from collections.abc import Callable

from flask import request

from service.context import parts, project_id
from service.problems import Problem
from worker.records.idempotency import Answered, Request, find_answer

KEY = re.compile(r"^[\x21-\x7e]{1,255}$")
HEADERS = {"Idempotency-Key": "A repeat with the same key and body gets the same answer, and makes nothing new."}


def answered_once(make: Callable[[Request | None], Answered]) -> Answered:
    """Return the answer to an earlier request with this key. If there is none, return the answer of `make`.

    make: takes the request's key, or None, and stores its answer with `worker.records.idempotency.answer_once`.
    """
    known = _request()
    if known is not None:
        with parts().database.reading() as session:
            earlier = find_answer(session, project_id(), known)
        if earlier is not None:
            return Answered(earlier, replayed=True)
    return make(known)


def replay_headers(answered: Answered) -> dict[str, str]:
    """Return the headers that show a client that an answer is replayed."""
    return {"Idempotency-Replayed": "true"} if answered.replayed else {}


def _request() -> Request | None:
    """Return the request's idempotency key and digest; None if it has no key. Raises Problem."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not KEY.fullmatch(key):
        raise Problem(400, "an Idempotency-Key is 1 to 255 printable ASCII characters", header="Idempotency-Key")
    sent = f"{request.method} {request.full_path}\n".encode() + request.get_data(cache=True)
    return Request(key, hashlib.sha256(sent).hexdigest())
