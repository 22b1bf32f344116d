"""What a person should know about a table before training on it: what was read otherwise than it may be meant."""

from collections.abc import Iterator

from worker.data.cells import shown
from worker.data.profiles import ColumnProfile, Remark, TableProfile, is_identifier
from worker.data.roles import Roles

IMBALANCE = 20
"Classes are imbalanced if the largest has more than this many times the rows of the smallest."
FEW_NUMBERS = 20
"A numeric target with at most this many distinct whole numbers may be meant as classes."


def table_remarks(profile: TableProfile) -> tuple[Remark, ...]:
    """Return the remarks about a table, whatever it is used for."""
    return (*_of_table(profile), *(remark for column in profile.columns for remark in _of_column(column, profile.rows)))


def job_remarks(profile: TableProfile, roles: Roles) -> tuple[Remark, ...]:
    """Return the remarks about the columns that a job uses, and about its target."""
    used = {*roles.targets, *(feature.name for feature in roles.features)}
    remarks = [remark for remark in table_remarks(profile) if remark.column is None or remark.column in used]
    features = [column for each in roles.features if (column := profile.column(each.name))]
    for target in filter(None, map(profile.column, roles.targets)):
        remarks += [_copy(column, target) for column in features if _is_like(column, target)]
    remarks += [_left_out(column) for column in map(profile.column, roles.left_out) if column]
    if roles.classes is not None:
        remarks += _of_classes(profile.column(roles.targets[0]))
    else:
        targets = map(profile.column, roles.targets)
        remarks += [_few_numbers(column) for column in targets if column and _is_like_classes(column)]
    return tuple(remarks)


def _of_table(profile: TableProfile) -> Iterator[Remark]:
    if profile.encoding is not None:
        yield Remark(column=None, code="encoding", detail=f"the text of the file was read as {profile.encoding}")
    for name, form in profile.reading.forms.items():
        yield Remark(column=name, code="form", detail=f"was read as {form.words}")
    for position in profile.unnamed:
        detail = f"column {position} of the file has no name and was left out"
        yield Remark(column=None, code="unnamed", detail=detail)


def _of_column(column: ColumnProfile, rows: int) -> Iterator[Remark]:
    name = column.name
    if column.look is not None:
        detail = f"is text: its cells look like {column.look}, but could be read in two ways"
        detail += "; upload it with decimal or thousands to say which"
        if column.look == "dates":
            detail = (
                "is text: its cells look like dates, but the order of day and month can't be told from them, or one "
            )
            detail += "of them is no day; upload it with dates to say which"
        yield Remark(column=name, code="look", detail=detail)
    elif (odd := column.not_numbers) is not None and odd.count == 0:
        first = f"{shown(odd.cell)}, row {odd.row}"
        detail = f"is text: its numbers have zeros before them, as codes have; the first is {first}"
        yield Remark(column=name, code="leading_zeros", detail=detail)
    elif odd is not None and odd.count < (rows - column.missing) / 2:
        cells = "1 cell is no number" if odd.count == 1 else f"{odd.count} cells are no numbers, the first of them"
        detail = f"is text, though most of its cells are numbers: {cells}: {shown(odd.cell)}, row {odd.row}; if that "
        detail += "means a missing cell, name it as missing when you upload the table"
        yield Remark(column=name, code="mostly_numbers", detail=detail)
    if column.distinct <= 1 and rows > 1:
        detail = "has the same value in every row" if column.distinct else "has no value in any row"
        yield Remark(column=name, code="constant", detail=f"{detail}: nothing can be learned from it")
    elif is_identifier(column, rows):
        detail = "has another value in each row, as a number or a name of the row has: consider {} for it"
        yield Remark(column=name, code="identifier", detail=detail.format('{"type": "ignore"}'))


def _of_classes(column: ColumnProfile | None) -> Iterator[Remark]:
    if column is None or column.categories is None or column.counts is None:
        return
    rare = [name for name, count in zip(column.categories, column.counts, strict=True) if count == 1]
    if rare:
        detail = f"has {len(rare)} of its classes in one row each, the first {shown(rare[0])}"
        yield Remark(column=column.name, code="rare_class", detail=detail)
    most, fewest = max(column.counts), min(column.counts)
    if most > IMBALANCE * fewest and not rare:
        detail = f"has {most} rows of one class and {fewest} of another: consider class_weights, or balanced_accuracy"
        yield Remark(column=column.name, code="imbalance", detail=detail)


def _is_like(column: ColumnProfile, target: ColumnProfile) -> bool:
    """Return whether a column has the values of the target, each as often, as far as their profiles tell."""
    if column.distinct < 2 or column.missing != target.missing:
        return False
    if column.categories is not None and target.categories is not None:
        return (column.categories, column.counts) == (target.categories, target.counts)
    figures = [(each.type, each.distinct, each.minimum, each.maximum, each.mean) for each in (column, target)]
    return column.type == "numeric" and figures[0] == figures[1]


def _copy(column: ColumnProfile, target: ColumnProfile) -> Remark:
    detail = f"has the values of the target {target.name!r}, each as often: if it is a copy, ignore it"
    return Remark(column=column.name, code="copy", detail=detail)


def _left_out(column: ColumnProfile) -> Remark:
    detail = f"is text with {column.distinct} distinct values, which are no categories, and was left out"
    return Remark(column=column.name, code="left_out", detail=detail)


def _is_like_classes(column: ColumnProfile) -> bool:
    return column.type == "numeric" and column.categories is not None and 1 < column.distinct <= FEW_NUMBERS


def _few_numbers(column: ColumnProfile) -> Remark:
    detail = f"is predicted as a number and has {column.distinct} distinct whole values: if they are classes, declare "
    return Remark(column=column.name, code="few_numbers", detail=detail + '{"type": "categorical"}')
