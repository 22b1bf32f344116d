"""An event of a job in the forms in which it is sent. All its watchers share them."""

from functools import cached_property

import orjson

from service.links import with_links
from worker.records.events import Happening


class Frame:
    """An event or an epoch, and its number. A form is written when it is first sent."""

    def __init__(self, happening: Happening) -> None:
        self.seq, self.kind = happening.seq, happening.kind
        self._payload = happening.payload

    @property
    def data(self) -> dict[str, object]:
        return with_links(self._payload) if self.kind in ("status", "end") else self._payload

    @cached_property
    def sse(self) -> bytes:
        """The event as a server-sent event. Source: HTML Living Standard, section 9.2."""
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self.seq, self.kind.encode(), orjson.dumps(self.data))

    @cached_property
    def line(self) -> bytes:
        """The event as one JSON object on a line."""
        document = {"id": self.seq, "event": self.kind, "data": self.data}
        return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
