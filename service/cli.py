"""The `gradmill` command."""

import os
import socket
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from service.db_commands import db
from service.settings import ServiceSettings
from service.starting import check_exposure, check_key, exiting_in_words
from service.up.preconditions import migrate as migrate_database
from service.up.preconditions import wait_until_usable
from service.up.supervisor import Running, StopRequest, api_command, run_up, worker_command
from worker.broker.exposure import check_broker
from worker.errors import UnavailableError
from worker.records.connections import of_worker
from worker.records.sessions import Database
from worker.records.workers import list_workers
from worker.runtime import configure_log
from worker.settings import read_settings


@click.group(context_settings={"auto_envvar_prefix": "GRADMILL", "help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gradmill", prog_name="gradmill")
def main() -> None:
    """Back-propagation as a service: post a network and a dataset, watch it learn, call the result."""


main.add_command(db)

OPTIONS = (
    click.option("--host", envvar="GRADMILL_HOST", help="Address to listen on [127.0.0.1]."),
    click.option("--port", envvar="GRADMILL_PORT", type=int, help="Port to listen on [8700]."),
    click.option("--data-dir", envvar="GRADMILL_DATA_DIR", type=click.Path(path_type=Path), help="Folder of all data."),
    click.option("--workers", envvar="GRADMILL_WORKERS", type=int, help="Training processes [one per core]."),
    click.option("--lease-seconds", envvar="GRADMILL_LEASE_SECONDS", type=float, help="Lease of a running job [30]."),
    click.option("--cors-origin", "cors_origins", multiple=True, help="An origin whose pages may call the API [none]."),
)


def settings_options(command: Any) -> Any:
    """Add the settings of the one-machine mode as flags, which take precedence over their environment variables.

    None of those that may contain a password: everyone on the machine can read the flags of a process.
    """
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@main.command()
@click.option("--example", is_flag=True, help="Train the digits example once it is up.")
@settings_options
def up(example: bool, **given: Any) -> None:
    """Run everything on this machine until Ctrl-C."""
    _run_up(_settings(given), example=example, stay=True)


@main.command()
@settings_options
def demo(**given: Any) -> None:
    """Run everything, train the digits example, and stop."""
    _run_up(_settings(given), example=True, stay=False)


def _run_up(settings: ServiceSettings, *, example: bool, stay: bool) -> None:
    console = Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    def work(running: Running) -> bool:
        say(f"gradmill is up at {running.url}; data in {running.settings.data_dir}.")
        if example:
            # imported late: scikit-learn takes a second, and only the example needs it
            from service.up.example import run_example

            run_example(running, console)
        if stay:
            say(f"\nDashboard (the link works once):\n{running.login_link}\nCtrl-C stops everything.")
        return stay

    with exiting_in_words():
        run_up(settings, StopRequest(), say, work)


def _settings(given: dict[str, Any]) -> ServiceSettings:
    given = {name: value for name, value in given.items() if value not in (None, ())}
    with exiting_in_words():
        return read_settings(ServiceSettings, **given)


@main.command()
def migrate() -> None:
    """Bring the database to this version's schema, and print what was done."""
    settings = _settings({})
    with exiting_in_words():
        click.echo(migrate_database(Database(settings.database, pool_size=1).engine))


@main.command()
def api() -> None:
    """Run an API process group, on one machine of several.

    Waits for the database, and for `gradmill migrate` if it has no schema or an older one, with a line in the log every
    few seconds. Exits with code 1 if the schema is newer than this version.
    """
    settings = _settings({})
    with exiting_in_words():
        check_key(settings)
        check_exposure(settings)
    _become(api_command(), settings, settings.api_processes * settings.api_connections)


@main.command()
def worker() -> None:
    """Run a Celery worker, on one machine of several.

    Waits for the database, and for `gradmill migrate` if it has no schema or an older one, with a line in the log every
    few seconds. Exits with code 1 if the schema is newer than this version.
    """
    settings = _settings({})
    with exiting_in_words():
        check_broker(settings)
    _become(worker_command(settings), settings, of_worker(settings.workers))


def _become(command: list[str], settings: ServiceSettings, connections: int) -> None:
    """Replace this process with the command once the database can be used. Return if asked to stop before that."""
    configure_log(settings.log_level)
    with exiting_in_words():
        if not wait_until_usable(settings, StopRequest().wait, connections=connections):
            return
    os.execv(command[0], command)  # noqa: S606 - our own command line


@main.command("check-worker")
def check_worker() -> None:
    """Exit with code 0 if a worker of this host has shown a sign of life within a lease (for health checks)."""
    settings = _settings({})
    try:
        with Database(settings.database, pool_size=1).reading() as session:
            alive = [seconds for row, seconds in list_workers(session) if row.hostname == socket.gethostname()]
    except (UnavailableError, SQLAlchemyError) as error:
        raise click.ClickException("the database can't be reached, or has no schema yet") from error
    if not alive or min(alive) > settings.lease_seconds:
        raise click.ClickException("no worker of this host has shown a sign of life within a lease")
