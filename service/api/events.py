"""The route that streams a job's events as they happen: server-sent events, or one JSON object per line."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import orjson
from flask import Response, request, stream_with_context

from service.api.responses import NOT_FOUND, problem, with_links
from service.context import parts, project_id
from service.live import Watch
from service.operations import Answer, Operations
from service.problems import RETRY_AFTER, Problem
from service.schemas.jobs import EventsQuery
from worker.records.events import Happening
from worker.records.jobs import get_job
from worker.records.states import FINAL

operations = Operations("events")

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
RETRY_MILLISECONDS = 2000


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/events",
    policy="jobs:read",
    query=EventsQuery,
    headers={"Last-Event-ID": "Continue after this number; `?after=` does the same."},
    answers={
        200: Answer(
            "status, epoch, checkpoint, heartbeat, and end last. is_best of an epoch: its monitored figure is the best "
            "so far. elsewhere: a resume where NumPy, BLAS or the number of threads differ, so that bits may differ "
            "too. nondeterminism: epochs whose bits differed when they were trained again. storage_missing: the bytes "
            "of the dataset were not in the worker's storage, and the job is tried again.",
            None,
            (SSE, NDJSON),
        ),
        204: Answer("The job has ended, and the client has seen its last event.", None, ()),
        404: NOT_FOUND,
        503: problem("This process already has its largest number of watchers."),
    },
)
def stream(job_id: str, query: EventsQuery) -> Response:
    """Watch a job: from the beginning, or after the last event that was seen."""
    after = _after(query)
    as_lines = request.accept_mimetypes.best_match([SSE, NDJSON]) == NDJSON
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
    if job.status in FINAL and job.seq <= after:
        return Response(status=204)
    if after > job.seq:
        raise Problem(400, f"this job's newest event is {job.seq}; it can't be watched from after event {after}")
    stack = ExitStack()
    watch = stack.enter_context(parts().live.watching(job_id))
    if watch is None:
        stack.close()
        raise Problem(503, "too many watchers; poll the job instead", headers=RETRY_AFTER)
    response = Response(
        stream_with_context(_events(watch, after, as_lines=as_lines)),
        content_type=NDJSON if as_lines else f"{SSE}; charset=utf-8",
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )
    response.call_on_close(stack.close)
    return response


def _after(query: EventsQuery) -> int:
    # a browser that reconnects uses the address that it began with, and sends its last number in this header
    given = request.headers.get("Last-Event-ID")
    if given is None:
        return query.after or 0
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        raise Problem(400, "Last-Event-ID must be the number of an event", header="Last-Event-ID")
    return int(given)


def _events(watch: Watch, after: int, *, as_lines: bool) -> Iterator[bytes]:
    write = _line if as_lines else _frame
    heartbeat = parts().settings.heartbeat_seconds
    if not as_lines:
        yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
    next_heartbeat = time.monotonic() + heartbeat
    while not watch.closed:
        found = watch.after(after, max(0.0, next_heartbeat - time.monotonic()))
        if found:
            yield b"".join(write(happening) for happening in found)
            after = found[-1].seq
            if found[-1].kind == "end":
                return
        if time.monotonic() >= next_heartbeat:
            yield b'{"event":"heartbeat"}\n' if as_lines else b"event: heartbeat\ndata: {}\n\n"
            next_heartbeat = time.monotonic() + heartbeat


def _payload(happening: Happening) -> dict[str, object]:
    return with_links(happening.payload) if happening.kind in ("status", "end") else happening.payload


def _frame(happening: Happening) -> bytes:
    data = orjson.dumps(_payload(happening))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (happening.seq, happening.kind.encode(), data)


def _line(happening: Happening) -> bytes:
    document = {"id": happening.seq, "event": happening.kind, "data": _payload(happening)}
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
