"""The draft of a feature contract from rows, and why each other column was left out.

Everything in a contract is read by all parties. So a draft shows no extreme value
(`rounding`), no level that few people have, and no column that looks like a person
(`looks`); what it leaves out it names, with the reason and the cure. The draft accepts the
rows from which it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import polars as pl

from clients.node.mapping.looks import DATE_CURE, Look, number_look, share_of, text_look
from clients.node.mapping.rounding import public_range
from clients.node.mapping.sources import Rows, is_repeated
from compliance.configuration import ConfigError
from protocols.errors import InvalidTableError
from protocols.identifiers import IdentifierKind
from protocols.vertical.contract import (
    MAX_COLUMNS,
    MAX_LEVELS,
    Category,
    Column,
    Contract,
    Numeric,
)

DEFAULT_LEVELS = 50
# Fewer people than this behind a level, and the level itself betrays them.
DEFAULT_RARE = 10
_FEW_NUMBERS = 12
_SEEN = 2_000
_FITS = 0.9
_PERSONS = (IdentifierKind.TW_PERSON_ID, IdentifierKind.PHONE, IdentifierKind.EMAIL)
# Both are named, whichever occur: the pair is public knowledge, and no row is behind it.
_PAIRS = (
    ("false", "true"), ("False", "True"), ("FALSE", "TRUE"), ("no", "yes"), ("No", "Yes"),
    ("NO", "YES"), ("n", "y"), ("N", "Y"), ("否", "是"), ("無", "有"), ("F", "M"),
    ("female", "male"), ("Female", "Male"), ("女", "男"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A column that the draft does not have."""

    column: str
    reason: str
    cure: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A proposed contract, what it leaves out, and what its editor should look at."""

    contract: Contract
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choices:
    """What the operator says about a table.

    Args:
        identifier: its column; guessed by check digits if empty. kind: guessed if None.
        without: columns to leave out.
        max_levels: of a category. rare: a level with fewer rows is not named.
    """

    identifier: str = ""
    kind: IdentifierKind | None = None
    label: str | None = None
    without: Collection[str] = ()
    max_levels: int = DEFAULT_LEVELS
    rare: int = DEFAULT_RARE


def draft_contract(
    rows: Rows, choices: Choices, *, progress: Callable[[str, int, int], None] | None = None
) -> Draft:
    """Propose a contract that these rows keep.

    Raises:
        ConfigError: a column that was named is not there, or no identifier is found.
        InvalidTableError: there is no row, or the identifier or label cannot be used.

    Privacy:
        Levels, rounded ranges and whether values are missing depend on the data: the draft
        stays here until a person has read and edited it.
    """
    frame = rows.frame
    if frame.height == 0:
        raise InvalidTableError("table: it has no rows; check the export")
    for name in (choices.identifier, choices.label, *choices.without):
        if name and name not in frame.columns:
            why = rows.unreadable.get(name, "the table does not have it; correct the name")
            raise ConfigError(f"column {name}: {why}")
    identifier, kind, notes = _identifier(frame, choices)
    _check_label(frame, choices.label, identifier)
    columns: list[Column] = []
    left_out = [LeftOut(name, *_split(why)) for name, why in rows.unreadable.items()]
    left_out += [LeftOut(name, "left out as asked", "") for name in choices.without]
    others = [
        name for name in frame.columns
        if name not in {identifier, choices.label, *choices.without}
    ]  # fmt: skip
    for done, name in enumerate(others, 1):
        found = _proposal(frame[name], choices)
        if isinstance(found, Look):
            left_out.append(LeftOut(name, found.reason, found.cure))
        elif len(columns) == MAX_COLUMNS:
            left_out.append(LeftOut(name, f"{MAX_COLUMNS} columns are the most", "choose fewer"))
        else:
            columns.append(found)
            notes += _notes(frame[name], found)
        if progress is not None:
            progress("judging columns", done, len(others))
    contract = Contract(tuple(columns), identifier, kind.value, choices.label)
    return Draft(contract, tuple(left_out), tuple(notes))


def _proposal(series: pl.Series, choices: Choices) -> Column | Look:
    """Return the column's line in the contract, or why it has none."""
    kind = series.dtype
    if (unfit := _unfit(series)) is not None:
        return unfit
    if kind.is_numeric():
        return _numeric(series.cast(pl.Float64), series)
    if kind == pl.Boolean:
        return _of_levels(series.cast(pl.String), choices)
    return _of_text(series.cast(pl.String), choices)


def _unfit(series: pl.Series) -> Look | None:
    """Judge a column by its heading and type."""
    name, kind = series.name, series.dtype
    if not name.strip() or is_repeated(name):
        return Look("its heading is empty or stands twice", "name each column once")
    if kind.is_temporal():
        return Look("holds dates or times", DATE_CURE)
    if kind == pl.Null:
        return _NO_VALUE
    if kind.is_numeric() or kind in (pl.Boolean, pl.String, pl.Categorical, pl.Enum):
        return None
    return Look(f"is of type {kind.base_type()}", "convert it to a number or a short text")


_NO_VALUE = Look("has no value in any row", "leave it out, or check the export")
_CONSTANT = Look("is the same in every row", "leave it out: nothing can be learned from it")


def _of_text(series: pl.Series, choices: Choices) -> Column | Look:
    present = series.drop_nulls()
    if present.is_empty():
        return _NO_VALUE
    stripped = series.str.strip_chars().replace("", None)
    numbers = stripped.cast(pl.Float64, strict=False)
    coded = bool(stripped.str.contains(r"^[+-]?0[0-9]").any())
    if numbers.null_count() == stripped.null_count() and not coded:
        if (look := text_look(series.name, stripped.drop_nulls())) is not None:
            return look
        return _numeric(numbers, series)
    if (look := text_look(series.name, present)) is not None:
        return look
    found = _of_levels(series, choices)
    wrong = numbers.null_count() - stripped.null_count()
    if isinstance(found, Look) and not coded and wrong < present.len() / 2:
        return Look(
            f"holds numbers, but {wrong} values are none",
            "write numbers without thousands separators, and leave missing ones empty",
        )
    return found


def _numeric(numbers: pl.Series, series: pl.Series) -> Column | Look:
    present = numbers.fill_nan(None).drop_nulls()
    if present.is_empty():
        return _NO_VALUE
    if bool(present.is_infinite().any()):
        return Look("holds infinite values", "leave them empty in the export")
    if (look := number_look(series.name, present)) is not None:
        return look
    low, high = float(present.min()), float(present.max())  # type: ignore[arg-type]  # numbers
    if low == high:
        return _CONSTANT
    whole = bool((present == present.round(0)).all())
    ends = public_range(low, high, whole=whole)
    if ends is None:
        return Look("holds numbers that are too large", "export it in another unit")
    return Numeric(series.name, *ends, missing=present.len() < series.len())


def _of_levels(series: pl.Series, choices: Choices) -> Column | Look:
    present = series.drop_nulls()
    counts = present.value_counts()
    levels: list[str] = sorted(counts[present.name].to_list())
    if len(levels) <= 1:
        return _CONSTANT if levels else _NO_VALUE
    if any(not level.strip() for level in levels):
        return Look("holds blank texts", "leave missing values empty, without quotes")
    missing = present.len() < series.len()
    for pair in _PAIRS:
        if set(levels) <= set(pair):
            return Category(series.name, pair, missing)
    if len(levels) > min(choices.max_levels, MAX_LEVELS):
        return Look(
            f"has {len(levels)} different texts, at most {choices.max_levels} are proposed",
            "group them in the export, or allow more with --max-levels",
        )
    rare = int((counts["count"] < choices.rare).sum())
    if rare:
        return Look(
            f"{rare} of its {len(levels)} levels have fewer than {choices.rare} rows each, and "
            "would betray them",
            "put rare levels together in the export, or write agreed levels by hand",
        )
    return Category(series.name, tuple(levels), missing)


def _notes(series: pl.Series, column: Column) -> list[str]:
    """Say what the editor of the draft should look at."""
    if isinstance(column, Category) or (column.low, column.high) == (0.0, 1.0):
        return []
    different = series.n_unique()
    if different <= _FEW_NUMBERS:
        return [
            f"column {column.name}: only {different} different numbers; if they are codes, "
            "declare it as a category"
        ]
    return []


def _identifier(frame: pl.DataFrame, choices: Choices) -> tuple[str, IdentifierKind, list[str]]:
    """Return the column of identifiers, its kind, and what to say of a guess."""
    name = choices.identifier or _guess_identifier(frame)
    values = _sample(frame[name])
    kind, notes = choices.kind, []
    if kind is None:
        fitting = [kind for kind in _PERSONS if share_of(kind, values) >= _FITS]
        kind = fitting[0] if fitting else IdentifierKind.OPAQUE
    if not choices.identifier or choices.kind is None:
        notes.append(f"identifier: column {name} was taken as {kind.value}; check that it is so")
    if not _can_identify(frame[name], kind):
        raise InvalidTableError(
            f"column {name}: identifiers must be text; as numbers they have lost their leading "
            "zeros; export them as text"
        )
    return name, kind, notes


def _guess_identifier(frame: pl.DataFrame) -> str:
    """Return the one column of the strongest kind; numbers of persons go before addresses."""
    texts = [series for series in frame.iter_columns() if series.dtype == pl.String]
    for kind in _PERSONS:
        found = [item.name for item in texts if share_of(kind, _sample(item)) >= _FITS]
        if len(found) == 1:
            return found[0]
        if found:
            which = f"{len(found)} columns could be ({', '.join(found[:5])})"
            break
    else:
        if "id" in frame.columns:
            return "id"
        which = "none found"
    raise ConfigError(f"identifier: {which}; name it with --identifier COLUMN --kind KIND")


def _can_identify(series: pl.Series, kind: IdentifierKind) -> bool:
    return series.dtype == pl.String or (
        kind is IdentifierKind.OPAQUE and series.dtype.is_integer()
    )


def _sample(series: pl.Series) -> list[str]:
    if series.dtype.is_nested():
        return []
    values = series.drop_nulls().head(_SEEN).cast(pl.String, strict=False)
    return values.drop_nulls().to_list()


def _check_label(frame: pl.DataFrame, label: str | None, identifier: str) -> None:
    if label is None:
        return
    if label == identifier:
        raise ConfigError("--label: the identifier may not be the label; name two columns")
    series = frame[label]
    if not (series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.String)):
        raise InvalidTableError(f"column {label}: a label is 0 or 1; convert it in the export")


def _split(why: str) -> tuple[str, str]:
    reason, _, cure = why.partition("; ")
    return reason, cure
