"""Which STIX patterns name identifiers: comparisons for equality, joined by OR.

A pattern that combines observations by AND, in time or by likeness states something about
events, which cannot be said of one identifier alone; it is refused and not guessed at.

Specification: STIX 2.1, section 9.
"""

from __future__ import annotations

import re
from typing import Any

from stix2.pattern_visitor import create_pattern_object
from stix2.patterns import (
    AndBooleanExpression,
    EqualityComparisonExpression,
    ObservationExpression,
    OrBooleanExpression,
    OrObservationExpression,
    ParentheticalExpression,
    StringConstant,
)
from stix2patterns.exceptions import ParseException

from clients.feed.defects import DefectError
from protocols.identifiers import IdentifierKind

MAX_PATTERN = 8192
_LOGIN = ("user-account", "account_login")
_ACCOUNT_TYPE = ("user-account", "account_type")
_PATHS = {
    ("x-tw-national-id", "value"): IdentifierKind.TW_NATIONAL_ID,
    ("x-tw-resident-number", "value"): IdentifierKind.TW_RESIDENT_NUMBER,
    ("x-tw-person-id", "value"): IdentifierKind.TW_PERSON_ID,
    ("x-phone-number", "value"): IdentifierKind.PHONE,
    ("x-bank-account", "value"): IdentifierKind.BANK_ACCOUNT,
    ("email-addr", "value"): IdentifierKind.EMAIL,
    _LOGIN: IdentifierKind.LINE_ID,
}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

Named = tuple[IdentifierKind, str]


def read_pattern(text: str) -> list[Named]:
    """Return the identifiers that a pattern names.

    Raises:
        DefectError: another pattern, or an object of another type.
    """
    if len(text) > MAX_PATTERN:
        raise DefectError(
            f"is longer than {MAX_PATTERN} characters", "give each identifier its indicator"
        )
    try:
        tree = create_pattern_object(text, version="2.1")
    except (ParseException, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise DefectError("is no STIX pattern", "correct it; a validator shows where") from None
    found = _observed(tree)
    return list(dict.fromkeys(found))


def _observed(tree: Any) -> list[Named]:
    match tree:
        case OrObservationExpression():
            return [one for operand in tree.operands for one in _observed(operand)]
        case ParentheticalExpression():
            return _observed(tree.expression)
        case ObservationExpression():
            return _compared(tree.operand)
    raise _unknown()


def _compared(tree: Any) -> list[Named]:
    match tree:
        case OrBooleanExpression():
            return [one for operand in tree.operands for one in _compared(operand)]
        case ParentheticalExpression():
            return _compared(tree.expression)
        case AndBooleanExpression():
            return [_line_account(tree.operands)]
        case EqualityComparisonExpression():
            path, value = _equal(tree)
            if path in _PATHS:
                return [(_PATHS[path], value)]
            raise DefectError(
                "names an object or property that is no identifier here",
                "use one of " + ", ".join(f"{one}:{name}" for one, name in _PATHS),
            )
    raise _unknown()


def _line_account(operands: list[Any]) -> Named:
    """Read the one conjunction that names an identifier: a login and the kind of account."""
    if not all(isinstance(operand, EqualityComparisonExpression) for operand in operands):
        raise _unknown()
    pairs = [_equal(operand) for operand in operands]
    values = dict(pairs)
    if len(pairs) != len(values) or set(values) != {_LOGIN, _ACCOUNT_TYPE}:
        raise _unknown()
    if values[_ACCOUNT_TYPE].lower() != "line":
        raise DefectError("is of another account than LINE", "leave the object out")
    return IdentifierKind.LINE_ID, values[_LOGIN]


def _equal(tree: Any) -> tuple[tuple[str, str], str]:
    properties = [getattr(part, "property_name", part) for part in tree.lhs.property_path]
    if tree.negated or not isinstance(tree.rhs, StringConstant) or len(properties) != 1:
        raise _unknown()
    # The library leaves the escapes of a string constant in place.
    return (tree.lhs.object_type_name, str(properties[0])), _ESCAPED.sub(r"\1", tree.rhs.value)


def _unknown() -> DefectError:
    return DefectError(
        "is more than equalities joined by OR", "give each identifier its own indicator"
    )
