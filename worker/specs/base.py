"""The base of every specification: frozen, strict in its scalars, and without unknown members."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import GroupedMetadata, MaxLen
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

UNKNOWN_SHOWN = 8
"An object that has more members than it can have, and this many more, is refused with one fault and not one for each."


class Strict(BaseModel):
    """The base of everything that a client sends. Unknown members are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _check_count(cls, document: Any) -> Any:
        if isinstance(document, dict) and len(document) > len(cls.model_fields) + UNKNOWN_SHOWN:
            detail = "should have at most {most} members, not {count}"
            raise PydanticCustomError("too_long", detail, {"most": len(cls.model_fields), "count": len(document)})
        return document


class Spec(Strict):
    """The base of every specification. No value is converted silently."""

    model_config = ConfigDict(frozen=True)


@dataclass(frozen=True)
class AtMost(GroupedMetadata):
    """The most elements of a list, or members of an object. It is checked before any of them is looked at.

    Pydantic's own limit counts elements that are valid, so that 400,000 elements that are not make 400,000 faults.
    Put it last in an annotation: the JSON Schema leaves out limits that follow a function.
    """

    length: int

    def __iter__(self) -> Iterator[object]:
        yield MaxLen(self.length)
        yield BeforeValidator(self._check)

    def _check(self, value: Any) -> Any:
        if isinstance(value, dict | list) and len(value) > self.length:
            detail = "should have at most {most} items, not {count}"
            raise PydanticCustomError("too_long", detail, {"most": self.length, "count": len(value)})
        return value


def _printable(text: str) -> str:
    """Return the text in Unicode's composed form. Raises ValueError for characters that no reader can see.

    Such characters would make two different names look alike, or break a log line. And it raises ValueError if the
    composed form is longer than the text, which few characters' is: its length would not have been checked.
    """
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Cn") for letter in text):
        raise ValueError("must not contain control, invisible or unassigned characters")
    composed = unicodedata.normalize("NFC", text)
    if len(composed) > len(text):
        raise ValueError("must be in Unicode's composed form (NFC)")
    return composed


def _readable(text: str) -> str:
    """Return a text of several lines, each as `_printable` returns it."""
    return "\n".join(map(_printable, text.replace("\r\n", "\n").split("\n")))


def column_name(text: str) -> str:
    """Return the name of a column, however it was written: trimmed, and in Unicode's composed form."""
    return unicodedata.normalize("NFC", text).strip()


NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")

# strict: to Python a bool is an int, and Pydantic would read "1" as a number
Integer = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Boolean = Annotated[bool, Field(strict=True)]
# the characters that _printable refuses, but for unassigned ones and those past U+FFFF: \p{C} would name them all, but
# Python's regular expressions, which some clients use, have no such class
UNPRINTABLE = (
    r"\u0000-\u001f\u007f-\u009f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u2064\u2066-\u206f\ue000-\uf8ff\ufeff\ufff9-\ufffb"
)
TEXT, PROSE = rf"^[^{UNPRINTABLE}]*$", rf"^([^{UNPRINTABLE}]|\r?\n)*$"
Text = Annotated[
    str, Field(min_length=1, max_length=200, json_schema_extra={"pattern": TEXT}), AfterValidator(_printable)
]
ColumnName = Annotated[Text, AfterValidator(column_name)]
Prose = Annotated[str, Field(max_length=4000, json_schema_extra={"pattern": PROSE}), AfterValidator(_readable)]
Name = Annotated[str, Field(pattern=NAME.pattern, description="Letters, digits, dot, underscore and hyphen.")]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]

CheckpointName = Annotated[str, Field(pattern=r"^(final|latest|[1-9][0-9]{0,6})$")]
"A client's choice among a job's weights: `final`, `latest`, or the number of an epoch. See `records.weights`."


def form(*given: str, absent: tuple[str, ...] = (), null: bool = True) -> JsonDict:
    """Return the JSON Schema of an object with the members `given`, not null, and without those of `absent`.

    null: whether an absent member may be there as null.
    """
    nothing: JsonDict = dict.fromkeys(absent, {"type": "null"} if null else False)
    something: JsonDict = {name: {"not": {"type": "null"}} for name in given}
    return {"required": list(given), "properties": something | nothing}


def one_of(*names: str, null: bool = True) -> JsonDict:
    """Return the JSON Schema of an object in which exactly one of these members is there and not null."""
    return {"oneOf": [form(name, absent=tuple(n for n in names if n != name), null=null) for name in names]}


def epoch_of(checkpoint: str) -> int | None:
    """Return the epoch whose number the name is; None for `final` and `latest`."""
    return int(checkpoint) if checkpoint.isdigit() else None
