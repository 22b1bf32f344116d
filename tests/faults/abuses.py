"""Raw HTTP that no client sends: broken framing, smuggled requests, strange heads. Each is what a socket sends."""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

SMUGGLED = (
    b"POST /v1/jobs/smuggled/cancel HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: smuggled\r\nContent-Length: 0\r\n\r\n"
)
"If this is ever answered, the server took a part of a body for a request: the answer repeats the id."


class Abuse(NamedTuple):
    name: str
    sent: bytes


TARGETS = (b"GET /healthz", b"POST /v1/jobs", b"POST /ui/login", b"PUT /v1/models/iris/aliases/best", b"POST /nowhere")

HEADS: dict[str, bytes] = {
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    "negative length": b"Content-Length: -1\r\n",
    "length with a sign": b"Content-Length: +5\r\n",
    "length in words": b"Content-Length: five\r\n",
    "length of 30 digits": b"Content-Length: 999999999999999999999999999999\r\n",
    "length with an underscore": b"Content-Length: 1_0\r\n",
    "unknown coding": b"Transfer-Encoding: bogus\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "chunked, identity": b"Transfer-Encoding: chunked, identity\r\n",
    "chunked with a tab": b"Transfer-Encoding:\tchunked\r\n",
    "space before the colon": b"Transfer-Encoding : chunked\r\n",
    "a folded header": b"X-A: 1\r\n  2\r\n",
    "NUL in a header": b"X-A: a\0b\r\n",
    "a bare CR": b"X-A: a\rb\r\n",
    "a bare LF": b"X-A: a\nX-B: b\r\n",
    "a header without a name": b": x\r\n",
    "a header without a colon": b"nonsense\r\n",
    "a header of 100 kB": b"X-A: " + b"a" * 100_000 + b"\r\n",
    "1,000 headers": b"X-A: a\r\n" * 1000,
    "two hosts": b"Host: 127.0.0.1\r\nHost: example.org\r\n",
    "a foreign host": b"Host: example.org\r\n",
    "an empty host": b"Host:\r\n",
    "a host with a path": b"Host: 127.0.0.1/x\r\n",
    "a host with a user": b"Host: a@127.0.0.1\r\n",
    "SCRIPT_NAME": b"SCRIPT_NAME: /v1\r\nX-Script-Name: /v1\r\n",
    "an unknown expectation": b"Expect: 200-maybe\r\n",
    "a continue that never comes": b"Expect: 100-continue\r\nContent-Length: 10\r\n",
    "latin-1 in a header": b"X-Request-Id: \xff\xfe\r\n",
    "an upgrade": b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "forwarded": b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: example.org\r\nForwarded: for=x\r\n",
    "a bad authorization": b"Authorization: Bearer \xc3\xa9\xff\r\n",
    "basic authorization": b"Authorization: Basic !!!\r\n",
    "a cookie of nonsense": b"Cookie: gradmill_session=.e30.x; =; \xff\r\n",
    "an etag of nonsense": b'If-None-Match: W/"\r\nIf-Match: "\xff\r\n',
    "ranges": b"Range: bytes=-1,0-,5-2," + b"0-1," * 1000 + b"\r\n",
    "a media type of nonsense": b"Content-Type: ;;=;charset\r\nContent-Length: 2\r\n",
    "an accept of nonsense": b"Accept: */*;q=x,,;\r\nAccept-Encoding: ;q=2\r\n",
}
FRAMING = ("length", "chunk", "coding", "colon")
"Words of the heads after which a server and a proxy could disagree about where the body ends."
CHUNKS: dict[str, bytes] = {
    "a size that is no number": b"zz\r\nabc\r\n0\r\n\r\n",
    "a negative size": b"-1\r\nabc\r\n0\r\n\r\n",
    "a size of 40 digits": b"f" * 40 + b"\r\n",
    "a size with an underscore": b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n",
    "a size with 0x": b"0x5\r\nabcde\r\n0\r\n\r\n",
    "a size with a space": b"5 \r\nabcde\r\n0\r\n\r\n",
    "an extension of 100 kB": b"5;" + b"a" * 100_000 + b"\r\nabcde\r\n0\r\n\r\n",
    "a chunk that is longer than its size": b"2\r\nabcdef\r\n0\r\n\r\n",
    "a bare LF": b"5\nabcde\n0\n\n",
    "no last chunk": b"5\r\nabcde\r\n",
    "trailers": b"5\r\nabcde\r\n0\r\nX-A: a\r\nHost: x\r\n\r\n",
    "trailers of nonsense": b"0\r\nnonsense\r\n\r\n",
    "a request as a trailer": b"0\r\n" + SMUGGLED,
    "a request after a chunk": b"3\r\nabc\r\n" + SMUGGLED,
}
LINES: dict[str, bytes] = {
    "nothing": b"",
    "no version": b"GET /healthz\r\n\r\n",
    "HTTP/9.9": b"GET /healthz HTTP/9.9\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a hello of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    "a method of 10,000 letters": b"G" * 10_000 + b" / HTTP/1.1\r\n\r\n",
    "a target of 100 kB": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "an absolute target": b"GET http://example.org/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "an authority as target": b"CONNECT example.org:80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a star": b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a target without a slash": b"GET healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "bytes past ASCII": b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "NUL in the target": b"GET /v1/jobs\0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "two slashes": b"GET //example.org/%2e%2e/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "dots": b"GET /ui/static/x/../../../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "encoded dots": b"GET /ui/static/x/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a broken escape": b"GET /v1/jobs?name=%zz%ff%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "TRACE": b"TRACE / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: secret\r\n\r\n",
    "a lower-case method": b"get /healthz http/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "tabs": b"GET\t/healthz\tHTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "empty lines first": b"\r\n" * 1000 + b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "20 requests at once": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20,
}


def abuses(key: str) -> Iterator[Abuse]:
    """Yield about 500 of them. key: each is sent without a key and, where it has a head of ours, with one."""
    yield from (Abuse(name, sent) for name, sent in LINES.items())
    keys = {"": b"", ", with a key": f"Authorization: Bearer {key}\r\n".encode()}
    for (name, head), target, (how, line) in product(HEADS.items(), TARGETS, keys.items()):
        host = b"" if b"Host" in head else b"Host: 127.0.0.1\r\n"
        after = SMUGGLED if any(word in name for word in FRAMING) else b""
        yield Abuse(f"{name}, {target.decode()}{how}", target + b" HTTP/1.1\r\n" + host + line + head + b"\r\n" + after)
    for (name, chunks), target, (how, line) in product(CHUNKS.items(), TARGETS, keys.items()):
        head = b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        yield Abuse(f"chunks: {name}, {target.decode()}{how}", target + head + line + b"\r\n" + chunks)
