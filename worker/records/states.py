"""The statuses of jobs and predictions, and the table of the moves between them.

Every change of status follows the table. Code that acts on a single status, such as `queued`, names it as a literal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Status = Literal["queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"]
PredictionStatus = Literal["queued", "running", "succeeded", "failed"]
"The statuses of a prediction. It follows the same table, but a client can't pause or cancel it, only delete it."
Change = Literal["cancel", "pause", "resume"]

STATUSES: tuple[Status, ...] = get_args(Status)
CHANGES: tuple[Change, ...] = get_args(Change)


@dataclass(frozen=True)
class Moves:
    """The ways out of one status.

    asked: the status that each change a client may ask for leads to. It is the same status if there is nothing to do.
    claimed: the status after a worker has claimed the row.
    ended: the status after its worker has ended the attempt, by the status that the worker reports. If a client has
        asked for a pause or a cancel, a report of `queued` leads there.
    expired: the status after the worker's lease has expired; None for statuses in which no worker owns the row.
    """

    asked: Mapping[Change, Status] = field(default_factory=dict)
    claimed: Status | None = None
    ended: Mapping[Status, Status] = field(default_factory=dict)
    expired: Status | None = None


MOVES: Mapping[Status, Moves] = {
    "queued": Moves(
        asked={"cancel": "cancelled", "pause": "paused", "resume": "queued"},
        claimed="running",
    ),
    "running": Moves(
        asked={"cancel": "cancelling", "pause": "pausing", "resume": "running"},
        ended={"succeeded": "succeeded", "failed": "failed", "queued": "queued"},
        expired="queued",
    ),
    "pausing": Moves(
        asked={"cancel": "cancelling", "pause": "pausing"},
        ended={"succeeded": "succeeded", "failed": "failed", "paused": "paused", "queued": "paused"},
        expired="paused",
    ),
    "paused": Moves(asked={"cancel": "cancelled", "pause": "paused", "resume": "queued"}),
    "cancelling": Moves(
        asked={"cancel": "cancelling"},
        ended={
            "succeeded": "succeeded",
            "failed": "failed",
            "cancelled": "cancelled",
            "paused": "cancelled",
            "queued": "cancelled",
        },
        expired="cancelled",
    ),
    "succeeded": Moves(),
    "failed": Moves(),
    "cancelled": Moves(asked={"cancel": "cancelled"}),
}


def targets(status: Status) -> frozenset[Status]:
    """Return every status that can follow this one."""
    moves = MOVES[status]
    found = {*moves.asked.values(), *moves.ended.values(), moves.claimed, moves.expired}
    return frozenset(target for target in found if target is not None and target != status)


HELD = tuple(status for status in STATUSES if MOVES[status].expired is not None)
"The statuses in which a worker owns the row."
FINAL = tuple(status for status in STATUSES if not targets(status))
"The statuses that never change."
OPEN = tuple(status for status in STATUSES if status not in FINAL)
"The statuses in which a row may still need the weights and the table that it names."


def ended(status: Status, wanted: Status) -> Status:
    """Return the status that a row gets when its worker ends the attempt.

    status: the status of the row.
    wanted: the status that the worker reports.
    Raises ValueError if the table does not allow it.
    """
    target = MOVES[status].ended.get(wanted)
    if target is None:
        raise ValueError(f"a row that is {status} can't end its attempt as {wanted}")
    return target
