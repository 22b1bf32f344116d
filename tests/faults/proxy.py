"""A TCP proxy that fails in the ways a network does."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Literal

Mode = Literal["pass", "refuse", "reset", "black_hole", "half_open"]
"""refuse: nobody listens. reset: every connection ends at once. black_hole: nothing arrives, and nothing is said of it.
half_open: what the client sends arrives, and no answer comes back."""


class Proxy:
    """A proxy in front of a server on 127.0.0.1. Its mode may change at any moment, for open connections too."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._mode: Mode = "pass"
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.port = 0
        self._do(self._listen())

    def set(self, mode: Mode) -> None:
        self._do(self._set(mode))

    def close(self) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        await self._set("refuse")
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(others, timeout=5) if others else None

    def _do(self, coroutine: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _set(self, mode: Mode) -> None:
        was, self._mode = self._mode, mode
        if mode in ("refuse", "reset"):
            for writer in list(self._writers):
                reset(writer)
        if mode == "refuse" and was != "refuse":
            self._server.close()
        if mode != "refuse" and was == "refuse":
            await self._listen()

    async def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self._mode == "reset":
            reset(to_client)
            return
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            reset(to_client)
            return
        ends = {to_client, to_server}
        self._writers |= ends
        await asyncio.gather(
            self._carry(from_client, to_server, ("pass", "half_open")),
            self._carry(from_server, to_client, ("pass",)),
        )
        self._writers -= ends
        for end in ends:
            end.close()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, open_in: tuple[Mode, ...]) -> None:
        """Carry bytes one way. Bytes that come while it is closed are lost, and end the connection."""
        lost = False
        try:
            while content := await source.read(65536):
                lost = lost or self._mode not in open_in
                if not lost:
                    sink.write(content)
                    await sink.drain()
        except OSError:
            pass
        if not lost and not sink.is_closing():
            # the other way may go on
            sink.write_eof()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    # its client may have gone at this very moment
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def proxied(server_port: int) -> Iterator[Proxy]:
    proxy = Proxy(server_port)
    try:
        yield proxy
    finally:
        proxy.close()
