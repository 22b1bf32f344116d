"""How the cells of one table are read: what is missing, and how each column writes its numbers."""

from collections.abc import Mapping

import pyarrow as pa

from worker.data.cells import MISSING
from worker.data.number_forms import NumberForm
from worker.specs.base import Spec

FORM = b"form"
"The member of a field's metadata with the form of its numbers, so that a table carries it."


class Reading(Spec):
    """How the cells of a table are read.

    missing: the texts that mean a missing cell.
    cleaned: whether cells are read by `cells`. Tables that were stored before keep the reading that they had.
    finds_forms: whether a column of text is looked at for numbers of another form. Rows to predict are not: their model
        knows how its columns are written.
    forms: the forms that were found, by column.
    """

    missing: tuple[str, ...] = MISSING
    cleaned: bool = True
    finds_forms: bool = True
    forms: Mapping[str, NumberForm] = {}


READING, ASKED = Reading(), Reading(finds_forms=False)
FORMER = Reading(missing=("", "NA", "NaN", "null"), cleaned=False, finds_forms=False)
"The reading of the tables that were stored before there was another."


def field(name: str, kind: pa.DataType, form: NumberForm | None) -> pa.Field:
    return pa.field(name, kind, metadata=None if form is None else {FORM: form.model_dump_json()})


def form_of_field(column: pa.Field) -> NumberForm | None:
    """Return how a column of numbers was written, if not plainly."""
    known = (column.metadata or {}).get(FORM)
    return None if known is None else NumberForm.model_validate_json(known)
