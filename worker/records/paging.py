"""One page of a list: its rows, and whether there are more."""

from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

T = TypeVar("T")

PAGE_BYTES = 8 * 2**20
ROWS_AT_ONCE = 4


def read_page(
    session: Session,
    found: Select[T],
    key: InstrumentedAttribute[Any],
    *,
    before: Any = None,
    after: Any = None,
    ascending: bool = False,
    limit: int,
    size_of: Callable[[T], int] | None = None,
) -> tuple[list[T], bool]:
    """Return at most `limit` rows in descending order of `key`, and whether there are more.

    before, after: only rows with a lower or a higher key than this. ascending: the lowest keys first.
    size_of: about how many bytes a row has, if some are large. The page then ends when it has PAGE_BYTES.
    """
    if before is not None:
        found = found.where(key < before)
    if after is not None:
        found = found.where(key > after)
    order = key.asc() if ascending else key.desc()
    found = found.order_by(order).limit(limit + 1)
    if size_of is None:
        rows = list(session.scalars(found))
        return rows[:limit], len(rows) > limit
    rows, size = [], 0
    # closed, since PostgreSQL has a cursor that stays open until its last row was read
    with closing(session.scalars(found.execution_options(yield_per=ROWS_AT_ONCE))) as some:
        for row in some:
            if len(rows) == limit or size > PAGE_BYTES:
                return rows, True
            rows.append(row)
            size += size_of(row)
    return rows, False
