"""The settings of the service: those of the worker, and those of HTTP."""

from typing import Annotated

from pydantic import Field, SecretStr

from worker.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServiceSettings(Settings):
    """The settings of an API process. Environment variables: GRADMILL_<NAME>. Some are also flags of `gradmill up`."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8700
    api_key: SecretStr = SecretStr("")
    "The bearer key. If it is empty, `gradmill up` makes one and stores it in the data folder."
    trusted_hosts: tuple[str, ...] = ()
    "Host names by which clients may call; empty: loopback names on a loopback address, any name otherwise."
    cors_origins: tuple[str, ...] = ()
    body_bytes_limit: int = 100 * 2**20
    predict_rows_limit: int = 100_000
    api_processes: Annotated[int, Field(ge=1, le=64)] = 1
    api_threads: Annotated[int, Field(ge=8, le=4096)] = 256
    watchers_limit: int = 200
    "The most streams and waiting requests of one API process: fewer than its threads, so that others are answered."
    predictor_bytes_limit: int = 1024**3
    heartbeat_seconds: float = 15.0
    "Seconds between two heartbeat events on a silent event stream. (A worker's heartbeat follows from lease_seconds.)"

    @property
    def hosts(self) -> list[str] | None:
        """The Host names that are answered; None for any."""
        if self.trusted_hosts:
            return list(self.trusted_hosts)
        return ["127.0.0.1", "localhost", "[::1]"] if self.host in LOOPBACK else None
