"""Collects what is sent to a database, for tests that count it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, event


class Statement(NamedTuple):
    """One statement with its parameters. Its text is COMMIT or ROLLBACK at the end of a transaction."""

    text: str
    parameters: Any = None


@contextmanager
def sent_to(engine: Engine) -> Iterator[list[Statement]]:
    """Collect the statements that are sent meanwhile, in order."""
    sent: list[Statement] = []

    def note(_connection: Connection, _cursor: Any, text: str, parameters: Any, *_: Any) -> None:
        sent.append(Statement(text, parameters))

    def commit(_connection: Connection) -> None:
        sent.append(Statement("COMMIT"))

    def rollback(_connection: Connection) -> None:
        sent.append(Statement("ROLLBACK"))

    listeners = {"before_cursor_execute": note, "commit": commit, "rollback": rollback}
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    try:
        yield sent
    finally:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)
