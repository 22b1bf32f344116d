"""The route that streams a job's events as they happen: server-sent events, or one JSON object per line."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from service.api.responses import NOT_FOUND, problem
from service.browser_sessions import session_check
from service.context import parts, project_id
from service.live import Watch
from service.operations import Answer, Operations
from service.problems import RETRY_AFTER, Problem
from service.reply import Reply
from service.request import request
from service.schemas.jobs import EventsQuery
from worker.records.jobs import get_job
from worker.records.states import FINAL

operations = Operations("events")

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
RETRY = b"retry: 2000\n\n"
"The pause in milliseconds before a browser connects again."
HEARTBEAT, LINE_HEARTBEAT = b"event: heartbeat\ndata: {}\n\n", b'{"event":"heartbeat"}\n'


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/events",
    policy="jobs:read",
    query=EventsQuery,
    hot=True,
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
def stream(job_id: str, query: EventsQuery) -> Reply:
    """Watch a job: from the beginning, or after the last event that was seen."""
    after = _after(query)
    as_lines = request().accept_mimetypes.best_match([SSE, NDJSON]) == NDJSON
    with parts().database.reading() as session:
        job = get_job(session, project_id(), job_id)
    if job.status in FINAL and job.seq <= after:
        return Reply(status=204)
    if after > job.seq:
        raise Problem(400, f"this job's newest event is {job.seq}; it can't be watched from after event {after}")
    watch = parts().live.watch(job_id, job.seq)
    if watch is None:
        raise Problem(503, "too many watchers; poll the job instead", headers=RETRY_AFTER)
    return Reply(
        EventStream(watch, after, as_lines, parts().settings.heartbeat_seconds, session_check()),
        content_type=NDJSON if as_lines else f"{SSE}; charset=utf-8",
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
        close=watch.leave,
    )


def _after(query: EventsQuery) -> int:
    # a browser that reconnects uses the address that it began with, and sends its last number in this header
    given = request().headers.get("last-event-id")
    if given is None:
        return query.after or 0
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        raise Problem(400, "Last-Event-ID must be the number of an event", header="Last-Event-ID")
    return int(given)


@dataclass(frozen=True)
class EventStream:
    """The body of the answer: it waits for events, and sends a heartbeat when none comes.

    after: the number of the last event that the client has seen.
    as_lines: whether it takes one JSON object per line, and not server-sent events.
    may_go_on: called at each heartbeat; False ends the stream. It may block. None: nothing ends it early.
    """

    watch: Watch
    after: int
    as_lines: bool
    heartbeat_seconds: float
    may_go_on: Callable[[], bool] | None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        after = self.after
        if not self.as_lines:
            yield RETRY
        next_heartbeat = time.monotonic() + self.heartbeat_seconds
        while not self.watch.closed:
            if found := await self.watch.after(after, max(0.0, next_heartbeat - time.monotonic())):
                yield b"".join([frame.line if self.as_lines else frame.sse for frame in found])
                after = found[-1].seq
                if found[-1].kind == "end":
                    return
                # while it waits, a watcher keeps nothing
                del found
            if time.monotonic() >= next_heartbeat:
                if self.may_go_on is not None and not await self.watch.off_the_loop(self.may_go_on):
                    return
                yield LINE_HEARTBEAT if self.as_lines else HEARTBEAT
                next_heartbeat = time.monotonic() + self.heartbeat_seconds
