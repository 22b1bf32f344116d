"""The worker's settings, and HTTP's."""

from typing import Annotated

from pydantic import Field, SecretStr

from worker.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServiceSettings(Settings):
    """Environment variables: GRADMILL_<NAME>; those of the one-machine mode are flags of `gradmill up` too."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8700
    api_key: SecretStr = SecretStr("")
    "The bearer key, taken as it is. `gradmill up` makes one and keeps it in the data folder if this is empty."
    trusted_hosts: tuple[str, ...] = ()
    "Names by which clients may call; empty: loopback names on a loopback address, any name elsewhere."
    cors_origins: tuple[str, ...] = ()
    body_bytes_limit: int = 100 * 2**20
    predict_rows_limit: int = 100_000
    api_processes: Annotated[int, Field(ge=1, le=64)] = 1
    api_threads: Annotated[int, Field(ge=8, le=4096)] = 256
    watchers_limit: int = 200
    "Streams and waiting requests of one API process; below its threads, so that others are still answered."
    predictor_bytes_limit: int = 1024**3
    heartbeat_seconds: float = 15.0
    "Between two heartbeat events on a silent stream."

    @property
    def hosts(self) -> list[str] | None:
        """The Host names that are answered; None for any."""
        if self.trusted_hosts:
            return list(self.trusted_hosts)
        return ["127.0.0.1", "localhost", "[::1]"] if self.host in LOOPBACK else None
