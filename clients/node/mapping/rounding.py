"""Public ranges for a numeric column: round, and wider than the data.

The exact minimum or maximum of a column is the value of one person, and everybody who signs
the agreement reads the contract. So the ends are moved outward to multiples of a unit of
about a fifth of the range: many data have the same proposal. Zero is an end of its own where
nothing is negative, or nothing positive: it is a property of the column, not of a row.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

# A range is divided into this many units at most, so that its ends tell little.
_UNITS = 5
# Years, amounts in small ranges far from zero: a unit is at least this share of the value.
_SHARE = Decimal("0.001")
_LEAST = Decimal("1e-12")
# In whole numbers a finer unit would have the very value as its only explanation.
_LEAST_WHOLE = Decimal(5)
_LARGEST = 1e150
# A float up to the largest is exact in these.
_DIGITS = 400


def public_range(low: float, high: float, *, whole: bool) -> tuple[float, float] | None:
    """Return a range that holds [low, high] and shows neither end; None if there is none.

    Args:
        low, high: finite; of the data.
        whole: whether all values are whole numbers.

    Privacy:
        The result depends on the data: it tells in which unit the extreme values lie. That is
        why a person edits it before anybody else reads it.
    """
    if not -_LARGEST < low <= high < _LARGEST:
        return None
    if whole and low >= 0 and high <= 1:
        return 0.0, 1.0  # yes or no: the range is the meaning, not the data
    with localcontext(prec=_DIGITS):
        return _ends(Decimal(low), Decimal(high), whole=whole)


def _ends(least: Decimal, most: Decimal, *, whole: bool) -> tuple[float, float]:
    unit, span = _unit(least, most, whole=whole), most - least
    if least >= 0 and least <= max(span, unit):
        ends = Decimal(0), _above(most, unit)
    elif most <= 0 and -most <= max(span, unit):
        ends = -_above(-least, unit), Decimal(0)
    else:
        ends = -_above(-least, unit), _above(most, unit)
    return float(ends[0]), float(ends[1])


def _unit(least: Decimal, most: Decimal, *, whole: bool) -> Decimal:
    floor = _LEAST_WHOLE if whole else _LEAST
    largest = max(abs(least), abs(most))
    wanted = max((most - least) / _UNITS, largest * _SHARE, floor)
    power = Decimal(10) ** math.floor(wanted.log10())
    return next(step * power for step in (1, 2, 5, 10) if step * power >= wanted)


def _above(value: Decimal, unit: Decimal) -> Decimal:
    """Return the least multiple of the unit that is greater than a value."""
    found = value // unit * unit  # the division drops the fraction, towards zero
    if found <= value:
        found += unit
    # The float next to it must not fall back onto the value.
    return found if Decimal(float(found)) > value else found + unit
