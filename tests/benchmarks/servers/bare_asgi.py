"""uvicorn with an application that always gives the same short answer: what the server itself takes."""

import sys
from typing import Any

import uvicorn

BODY = b'{"name": "bare"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def answer(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


uvicorn.run(
    answer,
    port=int(sys.argv[1]),
    log_level="warning",
    access_log=False,
    loop="uvloop",
    http="httptools",
    lifespan="off",
)
