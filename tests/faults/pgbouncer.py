"""A pgbouncer of the test's own in front of a PostgreSQL: each transaction may get another of a few connections."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from tests.conftest import missing
from tests.products import free_port, wait_for_port

CONFIGURATION = """
[databases]
* = host={host} port={server_port} user={user} {password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 1000
query_wait_timeout = 30
logfile =
"""


@dataclass(frozen=True)
class PgBouncer:
    """url: like that of the server, by way of pgbouncer. size: how many connections it opens for one database."""

    url: str
    size: int

    @property
    def port(self) -> int:
        return make_url(self.url).port or 0


@contextmanager
def pgbouncer(url: str, *, size: int = 4) -> Iterator[PgBouncer]:
    """Run pgbouncer in transaction mode. url: where it connects to. size: of its pool of connections."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        missing("pgbouncer")
        raise AssertionError
    server, port = make_url(url), free_port()
    text = CONFIGURATION.format(
        host=server.host,
        server_port=server.port or 5432,
        user=server.username,
        password=f"password={server.password}" if server.password else "",
        port=port,
        size=size,
    )
    # it refuses to run as root, and another user can't look into pytest's folder
    other = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "pgbouncer.ini"
        file.write_text(text)
        file.chmod(0o644)
        process = subprocess.Popen([*other, program, "-q", str(file)], cwd="/", stderr=subprocess.DEVNULL)
        try:
            wait_for_port(port, process)
            yield PgBouncer(server.set(host="127.0.0.1", port=port).render_as_string(hide_password=False), size)
        finally:
            process.terminate()
            process.wait(timeout=10)


def server_connections(url: str) -> dict[str, int]:
    """Return how many connections to this database the server has, by application_name."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True, application_name="test") as connection:
        rows = connection.execute(
            "SELECT application_name, count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() GROUP BY 1"
        ).fetchall()
    return {str(name): int(count) for name, count in rows}
