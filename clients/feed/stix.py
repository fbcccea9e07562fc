"""Reading STIX 2.1 bundles: which object says what, and what is refused.

    indicator.id                     report_id; all identifiers of its pattern belong to it
    indicator.pattern                one or more of these comparisons, joined by OR:
        x-tw-national-id:value = '...'           national number; x-tw-resident-number and
                                                 x-tw-person-id likewise
        x-phone-number:value = '...'             phone
        x-bank-account:value = '012-...'         bank code and account
        email-addr:value = '...'                 e-mail address
        user-account:account_login = '...'       LINE ID; may stand with AND
                                                 user-account:account_type = 'line'
    indicator.labels                 a category's word (loan, mule_account, ...), victim, and
                                     use-counter, use-screening, use-care
    indicator.confidence             80 to 100 is confirmed ("1 - Confirmed by other sources"
                                     of the Admiralty scale), less is reported, none says nothing
    indicator.revoked                withdrawn
    indicator.valid_from             first; last too, unless a sighting of the indicator has a
                                     later last_seen
    indicator.valid_until            void after that month, if retention does not end sooner
    indicator.created_by_ref         the class of the source, by the identity's first sector:
                                     government, telecommunications, financial-services,
                                     insurance; otherwise the feed's own
    report.object_refs               the report's labels, confidence and revoked hold for
                                     those of its indicators that state none themselves

Identities, sightings, reports, relationships and markings are read or passed over; any
other object, another pattern or another version is a refused row and stops nothing. Row
numbers count the objects of the bundle. Texts of the library's errors are never repeated:
they quote values.

Specification: STIX 2.1 (OASIS Standard, 10 June 2021), sections 4.7, 4.16, 9, appendix A.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import stix2
from stix2.exceptions import STIXError

from clients.feed.dates import read_month
from clients.feed.defects import DefectError, Refusal
from clients.feed.patterns import read_pattern
from clients.feed.reports import (
    CATEGORY_WORDS,
    USE_WORDS,
    Defaults,
    Report,
    check_months,
    read_report_id,
    read_value,
    victim_use,
)
from protocols.codec import parse_json
from protocols.errors import InvalidTableError, MalformedMessageError
from protocols.lookup.payload import Category, Slot, SourceClass, Status, Use

CONFIRMED_FROM = 80
MAX_CONFIDENCE = 100
_READ_BESIDE = {"identity", "sighting", "report"}
_PASSED_OVER = {"relationship", "marking-definition", "note", "grouping", "extension-definition"}
_SECTORS = {
    "government": SourceClass.POLICE,
    "telecommunications": SourceClass.TELECOM,
    "financial-services": SourceClass.BANK,
    "insurance": SourceClass.INSURER,
}
_VICTIM = "victim"
_USE_PREFIX = "use-"


def stix_rows(
    data: bytes, defaults: Defaults
) -> Iterator[tuple[int, list[Report] | list[Refusal]]]:
    """Give what each object of a bundle reports, or why it was refused.

    Raises:
        InvalidTableError: the file is no bundle.
    """
    objects = _objects(data)
    around = _Surroundings(objects)
    for row, value in enumerate(objects, 1):
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind in _READ_BESIDE | _PASSED_OVER:
            continue
        try:
            yield row, _reports(_indicator(value), around, defaults)
        except _FieldError as error:
            yield row, [Refusal(row, error.field, error.defect.rule, error.defect.cure)]


class _FieldError(Exception):
    """A defect, with the property in which it lies."""

    def __init__(self, field: str, defect: DefectError) -> None:
        super().__init__(field)
        self.field = field
        self.defect = defect


class _Surroundings:
    """What other objects of the bundle say of its indicators."""

    def __init__(self, objects: list[Any]) -> None:
        self.last_seen: dict[str, list[str]] = {}
        self.sources: dict[str, SourceClass] = {}
        self.reports: dict[str, list[dict[str, Any]]] = {}
        for value in objects:
            if not isinstance(value, dict):
                continue
            match value:
                case {"type": "sighting", "sighting_of_ref": str(of), "last_seen": str(seen)}:
                    self.last_seen.setdefault(of, []).append(seen)
                case {"type": "identity", "id": str(name), "sectors": [str(sector), *_]}:
                    if sector in _SECTORS:
                        self.sources[name] = _SECTORS[sector]
                case {"type": "report", "object_refs": list(references)}:
                    for name in references:
                        if isinstance(name, str):
                            self.reports.setdefault(name, []).append(value)


def _objects(data: bytes) -> list[Any]:
    try:
        value = parse_json(data.removeprefix(b"\xef\xbb\xbf"), "file")
    except MalformedMessageError:
        raise InvalidTableError("file: not valid JSON; export the bundle again") from None
    if not isinstance(value, dict) or value.get("type") != "bundle":
        raise InvalidTableError("file: not a STIX bundle; export it as one")
    objects = value.get("objects", [])
    if not isinstance(objects, list):
        raise InvalidTableError("file: objects of the bundle must be a list; export it again")
    return objects


def _indicator(value: Any) -> Any:
    """Return the library's reading of an indicator, which checks the required properties."""
    if not isinstance(value, dict) or value.get("type") != "indicator":
        raise _FieldError("type", DefectError("is not an indicator", "leave the object out"))
    if value.get("spec_version") != "2.1":
        raise _FieldError("spec_version", DefectError("is not 2.1", "export as STIX 2.1"))
    if value.get("pattern_type") != "stix":
        raise _FieldError("pattern_type", DefectError("is not stix", "write a STIX pattern"))
    for name in ("id", "valid_from"):
        # The library fills these in where they are missing, with chance and with its clock.
        if name not in value:
            raise _FieldError(name, DefectError("is missing", "export it"))
    try:
        return stix2.parse(value, allow_custom=True)
    except (STIXError, ValueError, TypeError, KeyError, AttributeError) as error:
        # The library's text quotes the value; only the property's name may go on.
        name = str(getattr(error, "prop_name", ""))
        field = name if name in stix2.Indicator._properties else "object"  # noqa: SLF001  the library names its properties nowhere else
        raise _FieldError(
            field, DefectError("breaks STIX 2.1", "correct the property; a validator shows how")
        ) from None


def _reports(indicator: Any, around: _Surroundings, defaults: Defaults) -> list[Report]:
    stated = _stated(indicator, around.reports.get(indicator["id"], []))
    labels = stated["labels"]
    slot = Slot.VICTIM if _VICTIM in labels else Slot.SUSPECT
    first, last = _months(indicator, around, defaults)
    report = Report(
        report_id=_checked("id", read_report_id, indicator["id"]),
        canonical=b"",
        slot=slot,
        category=_category(labels),
        source=around.sources.get(indicator.get("created_by_ref", ""), defaults.source),
        status=_status(stated),
        first=first,
        last=last,
        use=_checked("labels", lambda found: _use(found, slot, defaults), labels),
        until=_until(indicator, defaults),
    )
    found = _checked("pattern", read_pattern, indicator["pattern"])
    return [
        replace(report, canonical=_checked("pattern", lambda one: read_value(*one), pair))
        for pair in found
    ]


def _stated(indicator: Any, reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Return labels, confidence and revoked, from the report where the indicator has none."""
    found: dict[str, Any] = {
        "labels": [str(label).strip().lower() for label in indicator.get("labels", [])],
        "confidence": indicator.get("confidence"),
        "revoked": bool(indicator.get("revoked", False)),
    }
    for report in reports:
        labels = report.get("labels")
        if not found["labels"] and isinstance(labels, list):
            found["labels"] = [str(label).strip().lower() for label in labels]
        if found["confidence"] is None:
            found["confidence"] = report.get("confidence")
        found["revoked"] = found["revoked"] or report.get("revoked") is True
    return found


def _status(stated: Mapping[str, Any]) -> Status | None:
    confidence = stated["confidence"]
    if stated["revoked"]:
        return Status.WITHDRAWN
    if confidence is None:
        return None
    if type(confidence) is not int or not 0 <= confidence <= MAX_CONFIDENCE:
        raise _FieldError("confidence", DefectError("is not in 0..100", "correct it"))
    return Status.CONFIRMED if confidence >= CONFIRMED_FROM else Status.REPORTED


def _category(labels: list[str]) -> Category:
    found = {
        CATEGORY_WORDS[x] for x in (y.replace("-", "_") for y in labels) if x in CATEGORY_WORDS
    }
    if len(found) != 1:
        raise _FieldError(
            "labels",
            DefectError(
                f"name {len(found)} categories, need one",
                "add one of " + ", ".join(name for name in CATEGORY_WORDS if name.isascii()),
            ),
        )
    return found.pop()


def _use(labels: list[str], slot: Slot, defaults: Defaults) -> Use:
    use = Use(0)
    for label in labels:
        if label.startswith(_USE_PREFIX):
            if label.removeprefix(_USE_PREFIX) not in USE_WORDS:
                raise DefectError(
                    "name an unknown use", "write use-counter, use-screening or use-care"
                )
            use |= USE_WORDS[label.removeprefix(_USE_PREFIX)]
    if slot is Slot.VICTIM:
        return victim_use(use or Use.CARE)
    return use or defaults.use


def _months(indicator: Any, around: _Surroundings, defaults: Defaults) -> tuple[int, int]:
    first = _checked("valid_from", _month, indicator["valid_from"])
    last = first
    for seen in around.last_seen.get(indicator["id"], []):
        last = max(last, _checked("last_seen", read_month, seen))
    _checked("valid_from", lambda seen: check_months(first, seen, defaults.month), last)
    return first, last


def _until(indicator: Any, defaults: Defaults) -> int | None:
    if indicator.get("valid_until") is None:
        return None
    until: int = _checked("valid_until", _month, indicator["valid_until"])
    if until < defaults.month and not indicator.get("revoked", False):
        raise _FieldError("valid_until", DefectError("has passed", "leave the object out"))
    return until


def _month(moment: Any) -> int:
    return read_month(moment.isoformat())


def _checked(field: str, read: Any, value: Any) -> Any:
    """Read a property; a defect takes the property's name."""
    try:
        return read(value)
    except DefectError as error:
        raise _FieldError(field, error) from None
