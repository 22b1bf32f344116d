"""How the cells of one table are read: what is missing, and how each column writes its numbers."""

import json
from collections.abc import Mapping
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import AfterValidator, Field, TypeAdapter, ValidationInfo, field_validator

from worker.data.cells import MISSING, NUMBER, category_text, spellings
from worker.data.number_forms import NumberForm
from worker.data.times import Form, Order
from worker.specs.base import AtMost, Boolean, ColumnName, Spec, column_name

NUMBERS = 10
LARGEST = 1e15
"So many digits a float has."
FORM, MISSING_KEY = b"form", b"missing"
"""The member of a field's metadata with the form of its numbers, and of a table's with its texts for missing cells, so
that a table carries them."""


class Reading(Spec):
    """How the cells of a table are read.

    missing: the texts that mean a missing cell. One that is a number means that number, however it is written.
    cleaned: whether cells are read by `cells`. Tables that were stored before keep the reading that they had.
    finds_forms: whether a column of text is looked at for numbers of another form. One that is stored is not: it is
        read as it was when it came.
    forms: the forms that were found, by column.
    declared: the form of numbers that the sender of the table named; None if it named none. dates: the order of dates.
    text: the columns that it named as text.
    delimiter: the mark between the cells of a CSV; None to find it out.
    """

    missing: tuple[str, ...] = MISSING
    cleaned: bool = True
    finds_forms: bool = True
    forms: Mapping[str, Form] = {}
    declared: NumberForm | None = None
    dates: Order | None = None
    text: tuple[str, ...] = ()
    delimiter: str | None = None


READING = Reading()
FORMER = Reading(missing=("", "NA", "NaN", "null"), cleaned=False, finds_forms=False)
"The reading of the tables that were stored before there was another."


COMMENT = r"^[!-/:-@\[-`{-~]$"
"A mark of punctuation."
CellText = Annotated[str, Field(max_length=64), AfterValidator(column_name)]


class Declared(Spec):
    """What the sender of a file says of how it is to be read. What it does not say is found out."""

    delimiter: Literal[",", ";", "\t", "|", "whitespace"] | None = None
    "The mark between the cells of a CSV."
    header: Boolean = True
    "false: the first line is a row, and columns are named 0, 1, ..."
    comment: Annotated[str, Field(pattern=COMMENT)] | None = None
    "Lines of a CSV that begin with this mark are passed over."
    missing: Annotated[tuple[CellText, ...], AtMost(100)] = ()
    "Means a missing cell, beside the usual texts; a number means it however it is written."
    present: Annotated[tuple[CellText, ...], AtMost(100)] = ()
    "One of the usual texts that means no missing cell here."
    text: Annotated[tuple[ColumnName, ...], AtMost(1000)] = ()
    "A column of text, whatever its cells look like."
    decimal: Literal[".", ","] | None = None
    "The mark before the fraction of a number that is text."
    thousands: Literal[",", ".", " ", "'"] | None = None
    "The mark between groups of three digits."
    dates: Order | None = None
    "The order of year, month and day in dates."

    @field_validator("thousands")
    @classmethod
    def _check_marks(cls, thousands: str | None, info: ValidationInfo) -> str | None:
        if thousands is not None and thousands == info.data.get("decimal"):
            raise ValueError("must be another mark than decimal")
        return thousands

    @field_validator("missing")
    @classmethod
    def _check_numbers(cls, missing: tuple[str, ...]) -> tuple[str, ...]:
        if sum(NUMBER.fullmatch(text) is not None for text in missing) > NUMBERS:
            raise ValueError(f"at most {NUMBERS} numbers can mean a missing cell")
        return missing

    @property
    def reading(self) -> Reading:
        """The reading of cells that this asks for."""
        given = [spelling for text in self.missing for spelling in (text, *_spellings(text))]
        delimiter = "," if self.delimiter == "whitespace" else self.delimiter
        return Reading(
            missing=tuple(dict.fromkeys(text for text in (*MISSING, *given) if text not in self.present)),
            declared=self._form,
            dates=self.dates,
            text=self.text,
            delimiter=delimiter,
        )

    @property
    def _form(self) -> NumberForm | None:
        if self.decimal is None and self.thousands is None:
            return None
        decimal = self.decimal or ("," if self.thousands == "." else ".")
        return NumberForm(decimal=decimal, thousands=self.thousands or "")


def _spellings(text: str) -> list[str]:
    """Return how a text that means a missing cell may be written as well, if it is a number or a truth value."""
    is_number = NUMBER.fullmatch(text) is not None and abs(float(text)) < LARGEST
    return spellings(category_text(float(text) if is_number else text, ()) or text)


UNDECLARED = Declared()
FORMS: TypeAdapter[Form] = TypeAdapter(Form)


def field(name: str, kind: pa.DataType, form: Form | None) -> pa.Field:
    return pa.field(name, kind, metadata=None if form is None else {FORM: form.model_dump_json()})


def missing_of(schema: pa.Schema) -> tuple[str, ...]:
    """Return the texts that mean a missing cell of a table."""
    known = (schema.metadata or {}).get(MISSING_KEY)
    return MISSING if known is None else tuple(json.loads(known))


def form_of_field(column: pa.Field) -> Form | None:
    """Return how a column of numbers was written, if not plainly."""
    known = (column.metadata or {}).get(FORM)
    return None if known is None else FORMS.validate_json(known)
