"""Requests over kept connections, as fast as they are answered: raw HTTP/1.1, so that the client costs little."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple


class Figures(NamedTuple):
    """Seconds, and requests a second."""

    p50: float
    p99: float
    rate: float


def http_request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def load(port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Figures:
    """The requests in turn, over so many connections at once. Every answer must be a 200."""
    return asyncio.run(_load(port, requests, connections, seconds))


async def _load(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Figures:
    began = time.perf_counter()
    runs = await asyncio.gather(*(_one(port, requests, n, began + seconds) for n in range(connections)))
    times = sorted(taken for run in runs for taken in run)
    return Figures(statistics.median(times), times[int(len(times) * 0.99)], len(times) / (time.perf_counter() - began))


async def _one(port: int, requests: Sequence[bytes], first: int, until: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
    times, n = [], first
    while (began := time.perf_counter()) < until:
        writer.write(requests[n % len(requests)])
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
        times.append(time.perf_counter() - began)
        n += 1
    writer.close()
    await writer.wait_closed()
    return times
