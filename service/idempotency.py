"""The Idempotency-Key header: a repeated request gets the answer of the first."""

import hashlib
import re
from collections.abc import Callable

from service.context import parts, project_id
from service.problems import Problem
from service.request import request
from worker.records.idempotency import Answered, Request, find_answer

KEY = re.compile(r"^[\x21-\x7e]{1,255}$")
IDEMPOTENCY_KEY = "Idempotency-Key"
HEADERS = {IDEMPOTENCY_KEY: "A repeat with the same key and body gets the same answer, and makes nothing new."}


def answered_once(make: Callable[[Request | None], Answered]) -> Answered:
    """Return the answer to an earlier request with this key. If there is none, return the answer of `make`.

    make: takes the request's key, or None, and stores its answer with `worker.records.idempotency.answer_once`.
    """
    known = _request()
    if known is not None:
        with parts().database.reading() as session:
            earlier = find_answer(session, project_id(), known)
        if earlier is not None:
            return earlier
    return make(known)


def replay_headers(answered: Answered) -> dict[str, str]:
    """Return the headers that show a client that an answer is replayed."""
    return {"Idempotency-Replayed": "true"} if answered.replayed else {}


def read_key() -> str | None:
    """Return the request's idempotency key; None if it has none. Raises a 400 Problem for one of another form."""
    key: str | None = request().headers.get(IDEMPOTENCY_KEY.lower())
    if key is not None and not KEY.fullmatch(key):
        raise Problem(400, "an Idempotency-Key is 1 to 255 printable ASCII characters", header=IDEMPOTENCY_KEY)
    return key


def _request() -> Request | None:
    """Return the request's idempotency key and digest; None if it has no key. Raises Problem."""
    key = read_key()
    if key is None:
        return None
    sent = f"{request().method} {request().full_path}\n".encode() + request().body
    return Request(key, hashlib.sha256(sent).hexdigest())
