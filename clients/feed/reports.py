"""One report on one identifier, and the words in which its fields may be written.

    report_id  the contributor's own number; may stand on several rows, one per identifier
    kind       tw_national_id, tw_resident_number, tw_person_id, phone, bank_account, line_id,
               email, opaque          (or 身分證字號, 居留證號, 電話, 帳戶, LINE, 電子郵件)
    value      the identifier; a bank account is bank code and account, as 012-0012345678
    category   investment, impersonated_authority, romance, shopping, loan, job,
               impersonated_kin, mule_account, phishing, other          (or 假投資, 假檢警, ...)
    source     police, hotline_165, telecom, bank, insurer, sighting; the feed's own if empty
    status     reported, confirmed, withdrawn, expired; a new report without one is reported,
               a known one keeps the status that it has
    first,     months of the first and last event, in either calendar; if one is empty it is
    last       the other
    slot       suspect (if empty) or victim; a suspected victim is for care alone
    use        counter, screening, care, parted by ; or , or spaces; the feed's own if empty

A row is refused with every defect that it has. The words are compared without regard to
letter case, width, hyphens and spaces.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeVar

from clients.feed.dates import read_month
from clients.feed.defects import DefectError, Refusal
from protocols.identifiers import IdentifierKind, InvalidIdentifierError, canonicalize
from protocols.lookup.payload import Category, Slot, SourceClass, Status, Use

T = TypeVar("T")
E = TypeVar("E", bound=IntEnum)

MAX_REPORT_ID = 128
_PARTS = re.compile(r"[;,、\s]+")

_KINDS = {kind.value: kind for kind in IdentifierKind} | {
    "身分證字號": IdentifierKind.TW_NATIONAL_ID,
    "身分證": IdentifierKind.TW_NATIONAL_ID,
    "居留證號": IdentifierKind.TW_RESIDENT_NUMBER,
    "統一證號": IdentifierKind.TW_PERSON_ID,
    "電話": IdentifierKind.PHONE,
    "手機": IdentifierKind.PHONE,
    "帳戶": IdentifierKind.BANK_ACCOUNT,
    "銀行帳號": IdentifierKind.BANK_ACCOUNT,
    "line": IdentifierKind.LINE_ID,
    "電子郵件": IdentifierKind.EMAIL,
}
CATEGORY_WORDS = {item.name.lower(): item for item in Category} | {
    "假投資": Category.INVESTMENT,
    "假檢警": Category.IMPERSONATED_AUTHORITY,
    "假交友": Category.ROMANCE,
    "網路購物": Category.SHOPPING,
    "假貸款": Category.LOAN,
    "假求職": Category.JOB,
    "猜猜我是誰": Category.IMPERSONATED_KIN,
    "人頭帳戶": Category.MULE_ACCOUNT,
    "釣魚": Category.PHISHING,
    "其他": Category.OTHER,
}
SOURCE_WORDS = {item.name.lower(): item for item in SourceClass} | {
    "165": SourceClass.HOTLINE_165,
    "警察": SourceClass.POLICE,
    "電信": SourceClass.TELECOM,
    "銀行": SourceClass.BANK,
    "保險": SourceClass.INSURER,
}
_STATUSES = {item.name.lower(): item for item in Status} | {
    "通報": Status.REPORTED,
    "確認": Status.CONFIRMED,
    "撤銷": Status.WITHDRAWN,
    "逾期": Status.EXPIRED,
}
_SLOTS = {item.name.lower(): item for item in Slot} | {
    "嫌疑": Slot.SUSPECT,
    "被害": Slot.VICTIM,
    "被害人": Slot.VICTIM,
}
USE_WORDS = {"counter": Use.COUNTER, "screening": Use.SCREENING, "care": Use.CARE} | {
    "臨櫃": Use.COUNTER,
    "篩查": Use.SCREENING,
    "關懷": Use.CARE,
}


@dataclass(frozen=True, slots=True)
class Report:
    """What one contributor says of one identifier.

    Attributes:
        status: what the row states; None where it states nothing.
        first, last: months since 2000-01; until: the month after which its author holds it
            for void, if the author said so.
    """

    report_id: str = field(repr=False)
    canonical: bytes = field(repr=False)
    slot: Slot
    category: Category
    source: SourceClass
    status: Status | None
    first: int
    last: int
    use: Use
    until: int | None = None
    canary: bool = False


@dataclass(frozen=True, slots=True)
class Defaults:
    """What an empty field means here, and which month it is."""

    source: SourceClass
    use: Use
    month: int


def read_report(row: int, fields: Mapping[str, str], defaults: Defaults) -> Report | list[Refusal]:
    """Read one row; returns its defects, all of them, if it has any."""
    return _Row(row, fields, defaults).read()


class _Row:
    """One row while it is read: collects what is wrong with it."""

    def __init__(self, row: int, fields: Mapping[str, str], defaults: Defaults) -> None:
        self._row = row
        self._fields = fields
        self._defaults = defaults
        self._refusals: list[Refusal] = []

    def read(self) -> Report | list[Refusal]:
        report_id = self._field("report_id", read_report_id)
        canonical = self._value()
        category = self._field("category", lambda text: word(text, CATEGORY_WORDS))
        source = self._field(
            "source", lambda text: word(text, SOURCE_WORDS) if text else self._defaults.source
        )
        status = self._field("status", lambda text: word(text, _STATUSES) if text else None)
        slot = self._field("slot", lambda text: word(text, _SLOTS) if text else Slot.SUSPECT)
        use = self._use(slot)
        first, last = self._months()
        if (
            report_id is None or canonical is None or category is None or source is None
            or slot is None or use is None or first is None or last is None or self._refusals
        ):  # fmt: skip
            return self._refusals
        return Report(report_id, canonical, slot, category, source, status, first, last, use)

    def _field(self, name: str, read: Callable[[str], T]) -> T | None:
        try:
            return read(self._fields.get(name, "").strip())
        except DefectError as error:
            self._refuse(name, error)
            return None

    def _refuse(self, name: str, error: DefectError) -> None:
        self._refusals.append(Refusal(self._row, name, error.rule, error.cure))

    def _value(self) -> bytes | None:
        kind = self._field("kind", lambda text: word(text, _KINDS))
        if kind is None:
            return None
        return self._field("value", lambda text: read_value(kind, text))

    def _use(self, slot: Slot | None) -> Use | None:
        def read(text: str) -> Use:
            if slot is Slot.VICTIM:
                return victim_use(read_use(text) if text else Use.CARE)
            return read_use(text) if text else self._defaults.use

        return self._field("use", read)

    def _months(self) -> tuple[int | None, int | None]:
        stated = self._fields.get("first", "").strip(), self._fields.get("last", "").strip()
        if not any(stated):
            self._refuse("last", DefectError("is empty, and first too", "give the last event's"))
            return None, None
        first = self._field("first", read_month) if stated[0] else None
        last = self._field("last", read_month) if stated[1] else first
        first = first if stated[0] else last
        if first is not None and last is not None:
            try:
                check_months(first, last, self._defaults.month)
            except DefectError as error:
                self._refuse("last", error)
        return first, last


def read_report_id(text: str) -> str:
    """Return a report's number in its one spelling.

    Raises:
        DefectError: empty, too long, or not printable.
    """
    plain = unicodedata.normalize("NFKC", text[: MAX_REPORT_ID + 1]).strip()
    if not plain:
        raise DefectError("is empty", "give every report its number")
    if len(text) > MAX_REPORT_ID or not plain.isprintable():
        raise DefectError(
            f"is longer than {MAX_REPORT_ID} characters or not printable", "give it a shorter one"
        )
    return plain


def read_value(kind: IdentifierKind, text: str) -> bytes:
    """Return the canonical bytes of an identifier.

    Raises:
        DefectError: it is none of its kind; the rule does not repeat it.
    """
    if not text:
        raise DefectError("is empty", "give the identifier, or leave out the row")
    try:
        return canonicalize(kind, text)
    except InvalidIdentifierError as error:
        raise DefectError(
            f"{kind}: {error.rule}", "correct it at its source and give the row again"
        ) from None


def check_months(first: int, last: int, month: int) -> None:
    """Refuse a report that ends before it begins, or in the future.

    Raises:
        DefectError: it does.
    """
    if first > last:
        raise DefectError("lies before first", "exchange or correct the two")
    if last > month:
        raise DefectError("lies in the future", "correct the date; 民國 years are 1911 less")


def victim_use(use: Use) -> Use:
    """Refuse any use of a suspected victim's record but care.

    Raises:
        DefectError: another use is asked for.
    """
    if use != Use.CARE:
        raise DefectError("a victim's record is for care alone", "write care, or leave it empty")
    return use


def word(text: str, words: Mapping[str, T]) -> T:
    """Return what a word stands for.

    Raises:
        DefectError: empty or unknown; the rule lists the words in English.
    """
    plain = unicodedata.normalize("NFKC", text[:64]).strip().lower()
    found = words.get(re.sub(r"[\s\-]+", "_", plain))
    if found is None:
        known = ", ".join(name for name in words if name.isascii())
        raise DefectError("is empty" if not text else "is no known word", f"write one of {known}")
    return found


def read_use(text: str) -> Use:
    """Return the uses that a list of words permits.

    Raises:
        DefectError: an unknown word.
    """
    use = Use(0)
    for part in filter(None, _PARTS.split(text)):
        use |= word(part, USE_WORDS)
    if not use:
        raise DefectError("permits nothing", "write counter, screening, care, or leave it empty")
    return use
