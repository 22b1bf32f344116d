"""How the cells of one table are read: what is missing, and how each column writes its numbers."""

import json
from collections.abc import Mapping
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import AfterValidator, Field, TypeAdapter

from worker.data.cells import MISSING, one_spelling
from worker.data.number_forms import NumberForm
from worker.data.times import Form, Order
from worker.specs.base import AtMost, Boolean, ColumnName, Spec, column_name

FORM, MISSING_KEY = b"form", b"missing"
"""The member of a field's metadata with the form of its numbers, and of a table's with its texts for missing cells, so
that a table carries them."""


class Reading(Spec):
    """How the cells of a table are read.

    missing: the texts that mean a missing cell. One that is a number means that number, however it is written.
    cleaned: whether cells are read by `cells`. Tables that were stored before keep the reading that they had.
    finds_forms: whether a column of text is looked at for numbers of another form. Rows to predict are not: their model
        knows how its columns are written.
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


READING, ASKED = Reading(), Reading(finds_forms=False)
FORMER = Reading(missing=("", "NA", "NaN", "null"), cleaned=False, finds_forms=False)
"The reading of the tables that were stored before there was another."


def _cell(text: str) -> str:
    return one_spelling(column_name(text))


COMMENT = r"^[!-/:-@\[-`{-~]$"
"A mark of punctuation."
CellText = Annotated[str, Field(max_length=64), AfterValidator(_cell)]


class Declared(Spec):
    """What the sender of a file says of how it is to be read. What it does not say is found out."""

    encoding: str | None = None
    delimiter: Literal[",", ";", "\t", "|", "whitespace"] | None = None
    header: Boolean = True
    comment: Annotated[str, Field(pattern=COMMENT)] | None = None
    missing: Annotated[tuple[CellText, ...], AtMost(100)] = ()
    present: Annotated[tuple[CellText, ...], AtMost(100)] = ()
    text: Annotated[tuple[ColumnName, ...], AtMost(10_000)] = ()
    decimal: Literal[".", ","] | None = None
    thousands: Literal[",", ".", " ", "'"] | None = None
    dates: Order | None = None

    @property
    def reading(self) -> Reading:
        """The reading of cells that this asks for."""
        missing = [text for text in (*MISSING, *self.missing) if text not in self.present]
        delimiter = "," if self.delimiter == "whitespace" else self.delimiter
        return Reading(
            missing=tuple(dict.fromkeys(missing)),
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
