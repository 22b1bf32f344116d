"""One page of a list: its rows, and whether there are more."""

from typing import Any, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

T = TypeVar("T")


def read_page(
    session: Session,
    found: Select[T],
    key: InstrumentedAttribute[Any],
    *,
    before: Any = None,
    after: Any = None,
    ascending: bool = False,
    limit: int,
) -> tuple[list[T], bool]:
    """Return at most `limit` rows in descending order of `key`, and whether there are more.

    before, after: only rows with a lower or a higher key than this. ascending: the lowest keys first.
    """
    if before is not None:
        found = found.where(key < before)
    if after is not None:
        found = found.where(key > after)
    order = key.asc() if ascending else key.desc()
    rows = list(session.scalars(found.order_by(order).limit(limit + 1)))
    return rows[:limit], len(rows) > limit
