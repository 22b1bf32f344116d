"""What a column of text looks like: numbers or dates in a form that is not read as such."""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from worker.data.cells import all_match

Look = Literal["decimal commas", "separators of thousands", "per cent signs", "signs of a currency", "dates"]

PATTERNS: dict[Look, str] = {
    "decimal commas": r"^[+-]?[0-9]+,[0-9]+$",
    "separators of thousands": r"^[+-]?[0-9]{1,3}([., '][0-9]{3})+([.,][0-9]+)?$",
    "per cent signs": r"^[+-]?[0-9]+([.,][0-9]+)?\s*%$",
    "signs of a currency": r"^([$€£¥]\s*[+-]?[0-9.,]+|[+-]?[0-9.,]+\s*[$€£¥])$",
    "dates": r"^([0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{2,4})([ T][0-9:.]+.*)?$",
}
"The forms in which spreadsheets and pandas write numbers and dates, besides the plain ones."


def look_of(text: pa.ChunkedArray) -> Look | None:
    """Return what each cell of a column of text looks like; None if they do not agree, or look like nothing here."""
    present = pc.drop_null(text)
    if not len(present):
        return None
    return next((look for look, pattern in PATTERNS.items() if all_match(present, pattern)), None)
