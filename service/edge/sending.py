"""Sends an answer as ASGI events. Source: ASGI, HTTP response start and body."""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from typing import Any

from service.access import security_headers
from service.reply import Reply
from service.settings import ServiceSettings

Send = Callable[[dict[str, Any]], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]
Body = bytes | Iterator[bytes] | AsyncIterable[bytes]
Advance = Callable[[Iterator[bytes]], Awaitable[bytes | None]]
START, BODY = "http.response.start", "http.response.body"
BODILESS = (204, 304)
SLICE_BYTES = 64 * 1024


def raw(headers: Iterable[tuple[str, str]]) -> RawHeaders:
    """Return headers as they are sent: names in lower case, in bytes."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


class ReplyHeaders:
    """The headers of a reply, with those that every answer has. Flask's answers get the same ones in `access`."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._security = security_headers(settings)
        self._raw_security = raw(self._security.items())

    def of(self, reply: Reply, method: str, request_id: str | None) -> RawHeaders:
        headers = [] if request_id is None else [(b"x-request-id", request_id.encode())]
        if reply.status not in BODILESS:
            if reply.content_type is not None:
                headers.append((b"content-type", reply.content_type.encode("latin-1")))
            if isinstance(reply.body, bytes):
                headers.append((b"content-length", b"%d" % len(reply.body)))
        if self._security.keys().isdisjoint(reply.headers):
            headers += self._raw_security
        else:
            headers += raw((name, value) for name, value in self._security.items() if name not in reply.headers)
        if "Cache-Control" not in reply.headers:
            headers.append((b"cache-control", b"no-cache" if method == "GET" else b"no-store"))
        return headers + raw(reply.headers.items())


async def send_answer(send: Send, status: int, headers: RawHeaders, body: Body, advance: Advance) -> None:
    """Send an answer; of a body in parts, each part when the client has taken the one before.

    advance: returns the next part of an iterator, which may block; None after the last.
    """
    await send({"type": START, "status": status, "headers": headers})
    if isinstance(body, bytes) and len(body) <= SLICE_BYTES:
        await send({"type": BODY, "body": body})
        return
    if isinstance(body, bytes):
        await _send_slices(send, body)
    elif isinstance(body, AsyncIterable):
        async for part in body:
            await _send_slices(send, part)
    else:
        while (found := await advance(body)) is not None:
            await _send_slices(send, found)
    await send({"type": BODY, "body": b""})


async def _send_slices(send: Send, part: bytes) -> None:
    """Send a part in slices: `send` waits for a slow client before each, which has time for one slice, not for all."""
    for start in range(0, len(part), SLICE_BYTES):
        await send({"type": BODY, "body": part[start : start + SLICE_BYTES], "more_body": True})
