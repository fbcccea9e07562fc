"""What a column looks like that must not become a feature: identifiers, dates, free text.

Judged by the values, by how many are different, and last by the column's name. A column that
is left out by mistake costs a line in the contract, which its owner can add; one that is let
in by mistake shows persons to everybody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

import polars as pl

from protocols.identifiers import IdentifierKind, InvalidIdentifierError, canonicalize

# So many different values are looked at.
LOOKED_AT = 500
_SHARE = 0.2
_NEARLY_ALL = 0.9
_MOST = 0.5
_FEW = 20
_MANY = 50
_LONG = 64
_CHECKED = (IdentifierKind.TW_PERSON_ID, IdentifierKind.EMAIL, IdentifierKind.PHONE)
_CALLED = {
    IdentifierKind.TW_PERSON_ID: "national or resident numbers",
    IdentifierKind.EMAIL: "e-mail addresses",
    IdentifierKind.PHONE: "telephone numbers",
}
_NAMES = re.compile(
    r"(^|[_ .-])(id|uid|uuid|names?|phone|tel|mobile|e?mail|address|addr|account|acct|passport|"
    r"notes?|remarks?|comments?|memo)($|[_ .-])"
    r"|姓名|身分證|身份證|統編|電話|手機|地址|住址|信箱|帳號|備註|保單號|客戶編號|護照",
    re.IGNORECASE,
)
_NUMBER_NAMES = re.compile(
    r"(^|[_ .-])(id|uid|no|number|phone|tel|mobile|account|acct|passport)$|號碼?$|編號$|電話$",
    re.IGNORECASE,
)
_DATES = re.compile(
    r"\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?([ T].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}([ T].*)?"
    r"|(民國)?\d{2,3}[-/.年]\d{1,2}[-/.月]\d{1,2}日?|\d{1,2}:\d{2}(:\d{2})?"
)
_CARD = re.compile(r"[0-9]{13,19}")
_ACCOUNT_DIGITS = 10
_MOBILE = (900_000_000, 999_999_999)
_LEFT_OUT_CURE = "leave it out, or use it as the identifier"
DATE_CURE = (
    "export a number in its place, such as whole months up to a fixed day; a date of birth or "
    "of a contract is known to others and finds its person"
)


@dataclass(frozen=True, slots=True)
class Look:
    """Why a column must not become a feature as it is, and what to do."""

    reason: str
    cure: str


def text_look(name: str, values: pl.Series) -> Look | None:
    """Judge a column of text; None if nothing speaks against it.

    Args:
        values: without missing ones.
    """
    return next(_of_text(name, values), None)


def number_look(name: str, values: pl.Series) -> Look | None:
    """Judge a column of numbers; None if nothing speaks against it.

    Args:
        values: float64 or whole numbers, without missing and without infinite ones.
    """
    return next(_of_numbers(name, values), None)


def _of_text(name: str, values: pl.Series) -> Iterator[Look]:
    different = values.unique(maintain_order=True)
    seen: list[str] = different.head(LOOKED_AT).to_list()
    for kind in _CHECKED:
        if share_of(kind, seen) >= _SHARE:
            yield Look(f"holds {_CALLED[kind]}", _LEFT_OUT_CURE)
    if _share(seen, _is_date) >= _NEARLY_ALL:
        yield Look("holds dates or times", DATE_CURE)
    if different.len() > _FEW and different.len() >= _MOST * values.len():
        if _share(seen, _is_card) >= _NEARLY_ALL:
            yield Look("holds numbers of payment cards", _LEFT_OUT_CURE)
        if _share(seen, _is_account) >= _NEARLY_ALL:
            yield Look("holds long numbers, nearly all different, like accounts", _LEFT_OUT_CURE)
        if _NAMES.search(name):
            yield Look("its name and its many different values speak for persons", _LEFT_OUT_CURE)
    if any(len(text) > _LONG or not text.isprintable() for text in seen):
        yield Look("holds free text", "export a short code in its place")


def _of_numbers(name: str, values: pl.Series) -> Iterator[Look]:
    if values.dtype.is_float() and not bool((values == values.round(0)).all()):
        return
    least, most = float(values.min()), float(values.max())  # type: ignore[arg-type]  # numbers
    rows, different = values.len(), values.n_unique()
    if different > _FEW and least >= _MOBILE[0] and most <= _MOBILE[1]:
        yield Look("holds mobile numbers without their leading zero", _LEFT_OUT_CURE)
    seen = values.unique(maintain_order=True).head(LOOKED_AT).to_list()
    if different > _FEW and _share([f"{value:.0f}" for value in seen], _is_day) == 1:
        yield Look("holds dates written as numbers", DATE_CURE)
    if different < _NEARLY_ALL * rows or rows <= _MANY:
        return
    if most - least < 2 * rows and different == rows:
        yield Look("counts the rows: a running number", _LEFT_OUT_CURE)
    if least >= 10 ** (_ACCOUNT_DIGITS - 1) or _NUMBER_NAMES.search(name):
        yield Look("holds numbers that are nearly all different, like accounts", _LEFT_OUT_CURE)


def share_of(kind: IdentifierKind, values: list[str]) -> float:
    """Return the share of values that are well-formed identifiers of a kind."""

    def fits(text: str) -> bool:
        try:
            canonicalize(kind, text)
        except InvalidIdentifierError:
            return False
        return True

    return _share(values, fits)


def is_heading(name: str) -> bool:
    """Whether a column's name can be one, and is not a row of data in its place."""
    return bool(name.strip()) and not any(share_of(kind, [name]) for kind in _CHECKED)


def _share(values: list[str], fits: Callable[[str], bool]) -> float:
    return sum(fits(value) for value in values) / len(values) if values else 0.0


def _is_date(text: str) -> bool:
    return _DATES.fullmatch(text.strip()) is not None


def _is_day(text: str) -> bool:
    """Whether digits are a day since 1900, as 20260131."""
    if len(text) != 8 or not "1900" <= text[:4] <= "2100":  # noqa: PLR2004  YYYYMMDD
        return False
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True


def _is_account(text: str) -> bool:
    digits = text.replace("-", "").strip()
    return digits.isdecimal() and len(digits) >= _ACCOUNT_DIGITS


def _is_card(text: str) -> bool:
    """Whether digits are a card's number by its check digit (ISO/IEC 7812-1, annex B)."""
    digits = text.replace("-", "").replace(" ", "")
    if not _CARD.fullmatch(digits):
        return False
    doubled = [int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(digits))]
    return sum(number - 9 * (number > 9) for number in doubled) % 10 == 0  # noqa: PLR2004  digits
