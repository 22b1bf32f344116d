"""The role of each column in a job: feature, target, or weight of the rows."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from worker.data.profiles import ColumnProfile, TableProfile, is_identifier
from worker.data.splits import wanted_parts
from worker.data.times import Form, TimeForm
from worker.errors import SpecError, pointer_token
from worker.settings import Limits
from worker.specs.dataset import ColumnOverride
from worker.specs.encoding import CATEGORIES, NUMBERS, CategoryEncoding, EncodingRules, NumberEncoding
from worker.specs.job import Job
from worker.specs.network import EmbeddingLayer
from worker.specs.training import ColumnSplit, GroupedSplit, OrderedSplit, RandomSplit

ColumnType = Literal["numeric", "categorical"]
NO_OVERRIDE = ColumnOverride()


class InputColumn(NamedTuple):
    """A feature as the network takes it.

    width: how many inputs it becomes.
    categories: how many categories it has, counting missing cells as one; None for numbers.
    """

    name: str
    width: int
    categories: int | None


@dataclass(frozen=True)
class Feature:
    """A column that the job learns from.

    unknown: what to do at prediction with a category that training never saw.
    categories: how many categories the whole table has, as they are encoded; the training part may have fewer. None for
        numbers.
    embedded: the network takes the category's number, not one indicator for each category.
    numbers, rules: how it is encoded, if it is numeric, and if it is categorical.
    parts: how many inputs a number becomes at most.
    """

    name: str
    type: ColumnType
    unknown: Literal["refuse", "pool"]
    categories: int | None
    embedded: bool = False
    numbers: NumberEncoding = NUMBERS
    rules: CategoryEncoding = CATEGORIES
    parts: int = 1

    @property
    def width(self) -> int:
        if self.categories is None:
            return self.parts
        return 1 if self.embedded else self.categories


@dataclass(frozen=True)
class Roles:
    """The role of each column.

    rows: how many rows there are to learn from: without those that lack a target, if they are left out. If several
        targets lack cells, there may be fewer.
    targets: the names of the columns to predict.
    classes: the classes of a categorical target, in the order of the network's outputs; None if targets are numbers.
    bounds: the smallest and largest value of each target.
    weight: the name of the column with the weight of each row; None if there is none.
    left_out: the columns that are no features because their texts are no categories, though nobody left them out.
    """

    rows: int
    features: tuple[Feature, ...]
    targets: tuple[str, ...]
    classes: tuple[str, ...] | None
    bounds: tuple[tuple[float, float], ...]
    weight: str | None
    left_out: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[InputColumn, ...]:
        return tuple(InputColumn(feature.name, feature.width, feature.categories) for feature in self.features)

    @property
    def inputs(self) -> int:
        return sum(feature.width for feature in self.features)

    @property
    def outputs(self) -> int:
        return len(self.targets) if self.classes is None else len(self.classes)


def assign_roles(spec: Job, profile: TableProfile, limits: Limits, *, leave_out: bool = False) -> Roles:
    """Return the roles of this table's columns in this job. Raises SpecError if the job does not fit the table.

    leave_out: whether text that is no categories is left out of the features that nobody has listed.
    """
    for name in spec.columns:
        if profile.column(name) is None:
            raise SpecError(
                f"/columns/{pointer_token(name)}", f"the dataset has no such column; it has {_some(profile)}"
            )
    _check_split(spec, profile)
    lacking = max((column.missing for column in map(profile.column, spec.targets) if column), default=0)
    left_out = _texts(spec, profile) if leave_out and spec.features is None else ()
    return Roles(
        rows=profile.rows - lacking,
        features=_features(spec, profile, limits, left_out),
        targets=spec.targets,
        classes=_classes(spec, profile, limits),
        bounds=tuple(
            (column.minimum or 0.0, column.maximum or 0.0) for column in map(profile.column, spec.targets) if column
        ),
        weight=_weight(spec, profile),
        left_out=left_out,
    )


def _weight(spec: Job, profile: TableProfile) -> str | None:
    if spec.weight is None:
        return None
    column = profile.column(spec.weight)
    if column is None:
        raise SpecError("/weight", f"the dataset has no such column; it has {_some(profile)}")
    if spec.weight in spec.targets:
        raise SpecError("/weight", "is the target; it can't be the weight too")
    _check_weights(column, "/weight", "")
    return spec.weight


def _check_weights(column: ColumnProfile, pointer: str, of: str) -> None:
    """Raise SpecError for what can't be weights. of: words before the fault that name the table."""
    if column.type != "numeric" or column.missing or column.minimum is None or column.minimum < 0:
        raise SpecError(pointer, f"{of}must be a numeric column of 0 and more, with no missing cells")
    if not column.maximum:
        raise SpecError(pointer, f"{of}is 0 in every row; no row would count")


def _check_split(spec: Job, profile: TableProfile) -> None:
    """Raise SpecError if the rows can't be divided by the split's column."""
    split = spec.training.split
    if isinstance(split, RandomSplit):
        return
    pointer = "/training/split/column"
    column = profile.column(split.column)
    if column is None:
        raise SpecError(pointer, f"the dataset has no such column; it has {_some(profile)}")
    if split.column in spec.targets:
        raise SpecError(pointer, "is the target; it can't divide the rows too")
    if column.missing:
        raise SpecError(pointer, f"has {column.missing} missing cells; each row must be in a part")
    if isinstance(split, ColumnSplit) and split.column in (spec.features or ()):
        raise SpecError(pointer, "is listed as a feature; which part a row is in says nothing of its target")
    if isinstance(split, OrderedSplit) and column.type != "numeric":
        detail = "must have numbers or times to order the rows by; if these are dates, upload the table with dates"
        raise SpecError(pointer, detail)
    needed = 1 + sum(part is not None for part in wanted_parts(spec.training, profile.rows))
    if isinstance(split, GroupedSplit) and column.distinct < needed:
        raise SpecError(pointer, f"has {column.distinct} distinct values; {needed} groups are needed at least")


def _texts(spec: Job, profile: TableProfile) -> tuple[str, ...]:
    """Return the columns of text that are no categories: too many, too long, or another one in each row.

    Those that the job names in any way are not among them.
    """
    embedded = {layer.column for layer in spec.network.layers if isinstance(layer, EmbeddingLayer)}
    named = {*_others(spec), *spec.columns, *embedded}
    return tuple(
        column.name
        for column in profile.columns
        if column.type == "categorical"
        and column.name not in named
        and (column.categories is None or is_identifier(column, profile.rows))
    )


def _others(spec: Job) -> tuple[str | None, ...]:
    """Return the columns that are something else than features unless they are listed."""
    split = spec.training.split
    return (*spec.targets, spec.weight, None if isinstance(split, RandomSplit) else split.column)


def _features(spec: Job, profile: TableProfile, limits: Limits, left_out: tuple[str, ...]) -> tuple[Feature, ...]:
    if spec.features is None:
        others = (*_others(spec), *left_out)
        names = [column.name for column in profile.columns if column.name not in others]
    else:
        names = list(spec.features)
    features = []
    embedded = {layer.column for layer in spec.network.layers if isinstance(layer, EmbeddingLayer)}
    for position, name in enumerate(names):
        pointer = "/features" if spec.features is None else f"/features/{position}"
        column = profile.column(name)
        if column is None:
            raise SpecError(pointer, f"the dataset has no such column; it has {_some(profile)}")
        if name in spec.targets:
            raise SpecError(pointer, "is the target; it can't be a feature too")
        if name == spec.weight:
            raise SpecError(pointer, "is the weight; it can't be a feature too")
        if names.index(name) != position:
            raise SpecError(pointer, "is listed twice")
        override = spec.columns.get(name)
        if override is not None and override.type == "ignore":
            continue
        form = profile.reading.forms.get(name)
        override = override or NO_OVERRIDE
        features.append(_feature(column, override, spec.encoding, limits, embedded=name in embedded, form=form))
    if not features:
        raise SpecError("/features", "no column is left to learn from")
    return tuple(features)


def _feature(
    column: ColumnProfile,
    override: ColumnOverride,
    rules: EncodingRules,
    limits: Limits,
    *,
    embedded: bool,
    form: Form | None,
) -> Feature:
    kind = _type(column, override, limits)
    if kind == "categorical" and form is not None:
        detail = "was read as numbers of another form; to have categories, name it as text where you send the table"
        raise SpecError(f"/columns/{pointer_token(column.name)}/type", detail)
    if misplaced := override.misplaced(kind):
        raise SpecError(f"/columns/{pointer_token(column.name)}/{misplaced[0]}", f"is not for a {kind} column")
    if kind == "numeric":
        numbers = override.number_encoding(rules.numbers)
        bins = min(numbers.bins, column.distinct - 1) if column.distinct > 2 else 0
        cycles = form.cycles if isinstance(form, TimeForm) and numbers.calendar else ()
        parts = 1 + bins + 2 * len(cycles) + (numbers.indicator and column.missing > 0)
        return Feature(column.name, "numeric", "refuse", None, numbers=numbers, parts=parts)
    known, most = len(column.categories or ()), override.category_encoding(rules.categories).most
    own = known if most is None else min(known, most)
    count = own + (known > own) + (column.missing > 0)
    return Feature(column.name, "categorical", override.unknown, count, embedded, rules=CategoryEncoding(most=most))


def _classes(spec: Job, profile: TableProfile, limits: Limits) -> tuple[str, ...] | None:
    several = len(spec.targets) > 1
    classes = None
    for position, name in enumerate(spec.targets):
        pointer = f"/target/{position}" if several else "/target"
        column = profile.column(name)
        if column is None:
            raise SpecError(pointer, f"the dataset has no such column; it has {_some(profile)}")
        if spec.targets.index(name) != position:
            raise SpecError(pointer, "is listed twice")
        override = spec.columns.get(name, NO_OVERRIDE)
        if override.encodes:
            raise SpecError(f"/columns/{pointer_token(name)}/{override.encodes[0]}", "is not for the target")
        if column.missing and spec.missing_target == "refuse":
            detail = f"has {column.missing} missing cells; every row needs a target, or drop those that lack it"
            raise SpecError(pointer, f'{detail}: "missing_target": "drop"')
        if _type(column, spec.columns.get(name), limits) == "categorical":
            if several:
                raise SpecError(pointer, "is a category; several targets must all be numeric")
            classes = column.categories or ()
            if len(classes) < 2:
                raise SpecError(pointer, "has one class only; there is nothing to tell apart")
    return classes


def _type(column: ColumnProfile, override: ColumnOverride | None, limits: Limits) -> ColumnType:
    pointer = f"/columns/{pointer_token(column.name)}"
    kind = (override and override.type) or column.type
    if kind == "ignore":
        raise SpecError(pointer, "is the target; it can't be ignored")
    if kind == "numeric":
        if column.type != "numeric":
            raise SpecError(pointer, "has text in it; it can't be numeric")
        return "numeric"
    if column.categories is None:
        if not column.distinct:
            raise SpecError(pointer, 'has no values at all: declare it {"type": "ignore"}')
        raise SpecError(
            pointer,
            f"has {column.distinct} distinct values; a category has at most {limits.categories}, not long and none "
            'with a fraction: declare it {"type": "ignore"}'
            + (' or {"type": "numeric"}' if column.type == "numeric" else ""),
        )
    return "categorical"


def with_own_table(
    roles: Roles, spec: Job, profile: TableProfile, own: TableProfile, pointer: str
) -> tuple[Roles, int]:
    """Return the roles with the bounds of both tables, and how many rows the part has that have a target.

    profile, own: of the job's table, and of the part's. Raises SpecError if the part's table lacks a column of the job,
    or if its cells are of another kind there, or written otherwise.
    """
    for name in (*(feature.name for feature in roles.features), *roles.targets, *filter(None, [roles.weight])):
        if own.column(name) is None:
            raise SpecError(pointer, f"lacks the column {name!r} of the job's table; it has {_some(own)}")
        ours, theirs = (known.reading.forms.get(name) for known in (profile, own))
        if ours != theirs and not (isinstance(ours, TimeForm) and isinstance(theirs, TimeForm)):
            raise SpecError(
                pointer, f"has numbers or times in {name!r} that are written otherwise than in the job's table"
            )
    numeric = [feature.name for feature in roles.features if feature.type == "numeric"]
    for name in (*numeric, *(roles.targets if roles.classes is None else ())):
        column = own.column(name)
        if column is not None and column.type != "numeric":
            raise SpecError(pointer, f"has text in {name!r}, which is numeric in the job's table")
    if roles.weight is not None and (column := own.column(roles.weight)) is not None:
        _check_weights(column, pointer, f"the weight {roles.weight!r} in it ")
    targets = [column for column in map(own.column, roles.targets) if column]
    new = sorted(set(targets[0].categories or ()) - set(roles.classes or ()))
    if roles.classes is not None and new:
        raise SpecError(pointer, f"has the class {new[0]!r}, which the job's table lacks")
    lacking = max(column.missing for column in targets)
    if lacking and (spec.missing_target == "refuse" or lacking >= own.rows):
        raise SpecError(pointer, f"has {lacking} rows without a target; every row needs one")
    bounds = zip(roles.bounds, targets, strict=True)
    wider = tuple((min(low, column.minimum or 0.0), max(high, column.maximum or 0.0)) for (low, high), column in bounds)
    return replace(roles, bounds=wider), own.rows - lacking


def _some(profile: TableProfile) -> str:
    names = [column.name for column in profile.columns]
    if len(names) <= 10:
        return ", ".join(names)
    # the target is often the last column
    return f"{', '.join(names[:9])}, {len(names) - 10} more, and {names[-1]}"
