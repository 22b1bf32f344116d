"""The base of every specification: frozen, strict in its scalars, and without unknown members."""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Spec(BaseModel):
    """The base of every specification. Unknown members are refused; no value is converted silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _printable(text: str) -> str:
    """Return the text in Unicode's composed form. Raises ValueError for characters that no reader can see.

    Such characters would make two different names look alike, or break a log line.
    """
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Cn") for letter in text):
        raise ValueError("must not contain control, invisible or unassigned characters")
    return unicodedata.normalize("NFC", text)


def _readable(text: str) -> str:
    """Return a text of several lines, each as `_printable` returns it."""
    return "\n".join(map(_printable, text.replace("\r\n", "\n").split("\n")))


NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")

# strict: to Python a bool is an int, and Pydantic would read "1" as a number
Integer = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Boolean = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Prose = Annotated[str, Field(max_length=4000), AfterValidator(_readable)]
Name = Annotated[str, Field(pattern=NAME.pattern, description="Letters, digits, dot, underscore and hyphen.")]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]

CheckpointName = Annotated[str, Field(pattern=r"^(final|latest|[1-9][0-9]{0,6})$")]
"A client's choice among a job's weights: `final`, `latest`, or the number of an epoch. See `records.weights`."


def epoch_of(checkpoint: str) -> int | None:
    """Return the epoch whose number the name is; None for `final` and `latest`."""
    return int(checkpoint) if checkpoint.isdigit() else None
