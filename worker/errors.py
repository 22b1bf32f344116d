"""The exceptions of training and of the record. Those of HTTP are in the service."""


class GradmillError(Exception):
    """The base of every error that we raise on purpose. Its message may be shown to a client."""


class SpecError(GradmillError):
    """A job's specification can't be carried out. Names the place of the fault and what would be right.

    pointer: a JSON Pointer into the specification, such as `/network/layers/2/units`.
    """

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{pointer} {detail}")
        self.pointer = pointer
        self.detail = detail


class QuestionError(GradmillError):
    """A question about a network can't be answered. Names the place of the fault in the question.

    pointer: a JSON Pointer into the request, such as `/weight/to`.
    code: a short name for programs.
    """

    def __init__(self, pointer: str, detail: str, *, code: str = "invalid") -> None:
        super().__init__(f"{pointer} {detail}")
        self.pointer = pointer
        self.detail = detail
        self.code = code


class DataError(GradmillError):
    """A table, or rows to predict, can't be used. Names the place of the fault if there is one.

    row, column: the place in the table, rows counted from 0; None if the fault is in the whole table.
    """

    def __init__(self, detail: str, *, row: int | None = None, column: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.row = row
        self.column = column

    @property
    def sentence(self) -> str:
        """The message with its place, such as `row 17, column 'age': must be a number`."""
        place = [f"row {self.row}"] if self.row is not None else []
        place += [f"column {self.column!r}"] if self.column is not None else []
        return f"{', '.join(place)}: {self.detail}" if place else self.detail


class TableSizeError(DataError):
    """A table has more cells than can be read at once. It is raised before memory is taken for them."""


class UnsafeFileError(GradmillError):
    """A client's file can't be read safely: its parser crashed, or needed more memory or time than it may have."""


class ShapeError(GradmillError):
    """Two arrays differ in a dimension that must be the same. Raised by the engine before it computes."""


class DivergedError(GradmillError):
    """A loss or a weight is not finite. Raised at the end of the epoch in which that happened.

    what: `loss`, `validation loss` or `weight`.
    member: the first member of a stack that diverged; None for a single network.
    """

    def __init__(self, epoch: int, what: str = "loss", member: int | None = None) -> None:
        of_member = "" if member is None else f" of member {member}"
        super().__init__(f"{what}{of_member} is not finite at epoch {epoch}")
        self.epoch = epoch


class FigureError(GradmillError):
    """The monitored figure does not exist for these rows. Raised after the first epoch.

    For example, roc_auc does not exist if all rows have the same class.
    """


class LeaseLostError(GradmillError):
    """This attempt no longer holds the row: another has claimed it, or it has ended. Raised by guarded writes."""


class WeightsFileError(GradmillError):
    """A file of weights can't be imported. The message has the file as its subject: `is not an ONNX file`."""


class NotFoundError(GradmillError):
    """The object does not exist in this project. The same error is raised for an id that is unknown, deleted, or
    another project's."""


class StateError(GradmillError):
    """The state of the object does not allow the request. Raised by changes of status, and by reads that are too early.

    code: a short name for programs, such as `not_ready`.
    """

    def __init__(self, detail: str, *, code: str = "conflict") -> None:
        super().__init__(detail)
        self.code = code


class IdempotencyError(GradmillError):
    """An idempotency key was used before with another request. Raised by every write that takes such a key."""


class UnavailableError(GradmillError):
    """The database can't be reached, or stayed busy during all retries. Any read or write may raise it."""


class StorageFullError(GradmillError):
    """The storage has no room for an upload. Raised after the part that was written has been deleted."""


class MissingBytesError(GradmillError):
    """An object is not in this process's storage. The job is then tried again, perhaps by another worker."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"the bytes of {key} are not in this worker's storage (GRADMILL_STORAGE_URL): "
            "point every API and worker at the same folder or bucket"
        )
        self.key = key


class StartError(GradmillError):
    """gradmill can't start. The message says in one sentence what to change."""


def pointer_token(name: str | int) -> str:
    """Return a member's name or an element's position as a token of a JSON Pointer. Source: RFC 6901, section 3."""
    return str(name).replace("~", "~0").replace("/", "~1")
