"""The settings of the service: those of the worker, and those of HTTP."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from service.hosts import LOOPBACK, host_name, in_brackets
from worker.broker.exposure import is_loopback
from worker.sandbox import MEMORY_BYTES
from worker.settings import Settings

PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]
"The scheme, host and port of an address."


class ServiceSettings(Settings):
    """The settings of an API process. Environment variables: GRADMILL_<NAME>. Some are also flags of `gradmill up`."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8700
    api_key: SecretStr = SecretStr("")
    "The bearer key. If it is empty, `gradmill up` makes one and stores it in the data folder."
    public_url: str = ""
    "The address in the browser, if that is a proxy's: https://gradmill.example.org. With https cookies are Secure."
    proxies: Annotated[int, Field(ge=0, le=16)] = 0
    "How many proxies add to X-Forwarded-For before a request arrives. 0: the header is ignored."
    trusted_hosts: tuple[str, ...] = ()
    "Host names by which clients may call, beside those of loopback; empty: any name, but on a loopback address none."
    session_hours: Annotated[float, Field(gt=0, le=8760)] = 12.0
    "How long a login to the dashboard lasts."
    cors_origins: tuple[str, ...] = ()
    body_bytes_limit: int = 100 * 2**20
    json_memory_bytes_limit: int = 96 * 2**20
    "About how much memory the values of one JSON body may take."
    predict_rows_limit: int = 100_000
    predict_memory_bytes_limit: int = 192 * 2**20
    "About how much memory the rows of one request to predict may take: their cells, inputs and outputs."
    api_processes: Annotated[int, Field(ge=1, le=64)] = 1
    api_threads: Annotated[int, Field(ge=8, le=1024)] = 64
    "Threads of an API process for what may block: they read no body, and wait for no client."
    hot_threads: Annotated[int, Field(ge=2, le=1024)] = 6
    "More threads, for predictions and polls only, which go on while the others parse uploads."
    api_connections: Annotated[int, Field(ge=3, le=1000)] = 10
    "The most connections to the database of one API process; pages and lists together use at most 4 of 10."
    watchers_limit: Annotated[int, Field(ge=0)] = 10_000
    "The most streams and waiting requests of one API process. Each takes about 20 KB."
    connections_limit: Annotated[int, Field(ge=16)] = 16_384
    "The most connections of one API process; fewer if the system allows it fewer open files."
    address_connections_limit: Annotated[int, Field(ge=1)] = 1024
    "The most connections of one client; behind trusted proxies, the most requests that it may have under way."
    access_log: bool = False
    "Whether each request is a line of the log."
    parse_memory_bytes_limit: Annotated[int, Field(ge=64 * 2**20)] = MEMORY_BYTES
    "What reading one uploaded file may allocate, in the process of its own in which it is read."
    predictor_bytes_limit: int = 1024**3
    heartbeat_seconds: float = 15.0
    "Seconds between two heartbeat events on a silent event stream. (A worker's heartbeat follows from lease_seconds.)"

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        # the brackets belong to an address, not to a host
        return host.strip().removeprefix("[").removesuffix("]")

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, url: str) -> str:
        if not url:
            return url
        parts, origin = urlsplit(url), origin_of(url)
        if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc or origin is None:
            raise ValueError("must be an address without a path, such as https://gradmill.example.org")
        scheme, name, port = origin
        return f"{scheme}://{in_brackets(name)}" + ("" if port == PORTS[scheme] else f":{port}")

    @field_validator("trusted_hosts")
    @classmethod
    def _check_trusted_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if host_name(in_brackets(host).removeprefix(".")) is None:
                raise ValueError('must be host names, such as ["gradmill.example.org"]')
        return hosts

    @property
    def hosts(self) -> frozenset[str] | None:
        """The Host names that are answered, as `host_name` writes them; None for any."""
        if self.trusted_hosts:
            hosts = [in_brackets(host) for host in self.trusted_hosts]
            # a name below which all are trusted keeps its dot; health checks of this machine use a name of loopback
            named = {("." if host.startswith(".") else "") + str(host_name(host.removeprefix("."))) for host in hosts}
            return frozenset({*named, *LOOPBACK})
        if not is_loopback(self.host):
            return None
        public = origin_of(self.public_url)
        return frozenset({*LOOPBACK, self.host.lower(), *([] if public is None else [public[1]])})

    @property
    def is_tls(self) -> bool:
        """Whether browsers reach this server by https."""
        return self.public_url.startswith("https://")


def origin_of(url: str) -> Origin | None:
    """Return the origin of a URL, or of an Origin header; None if it has none."""
    try:
        parts = urlsplit(url.lower())
        port = parts.port or PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    name = host_name(in_brackets(parts.hostname or ""))
    return None if name is None else (parts.scheme, name, port)
