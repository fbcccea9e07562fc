"""Who may ask how much and why, who may publish under which number, and for how long.

These are the parts of an epoch that people agree on; they stand in the terms of a key
set-up and, unchanged, in the manifest that comes out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocols.errors import MalformedMessageError
from protocols.lookup.request import Purpose
from protocols.lookup.signing import DIGEST_SIZE, check_name, check_size, check_whole

FIRST_EPOCH = 1
MAX_CONTRIBUTOR = 65_535
MAX_GRACE_S = 90 * 24 * 3600
# Whole numbers above this are no longer exact in every reader of JSON (RFC 8259, section 6).
MAX_WHOLE = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Grant:
    """What one asker may ask in one epoch.

    Args:
        quota: elements that every holder evaluates for it in the epoch.
    """

    quota: int
    purposes: frozenset[Purpose]

    def __post_init__(self) -> None:
        check_whole(self.quota, "grant: quota", least=1, most=MAX_WHOLE)
        if not self.purposes:
            raise MalformedMessageError("grant: no purpose; name one or leave the asker out")

    def fields(self) -> dict[str, Any]:
        """Return the grant as a JSON object."""
        return {"quota": self.quota, "purposes": sorted(self.purposes)}

    @classmethod
    def from_fields(cls, value: Any, subject: str) -> Grant:
        """Read a grant from its JSON object.

        Raises:
            MalformedMessageError: on any other value.
        """
        fields = read_fields(value, {"quota", "purposes"}, subject)
        listed = fields["purposes"]
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise MalformedMessageError(f"{subject}: purposes must be a list of texts")
        try:
            purposes = frozenset(Purpose(item) for item in listed)
        except ValueError as error:
            raise MalformedMessageError(f"{subject}: a purpose is unknown") from error
        try:
            return cls(fields["quota"], purposes)
        except MalformedMessageError as error:
            raise MalformedMessageError(f"{subject}: {error}") from error


def check_validity(subject: str, *, not_before: int, not_after: int, grace_s: int) -> None:
    """Refuse a period without extent, or one that is served without an end.

    Raises:
        MalformedMessageError: names the field and the rule.
    """
    check_whole(not_before, f"{subject}: not_before", most=MAX_WHOLE)
    check_whole(not_after, f"{subject}: not_after", most=MAX_WHOLE)
    check_whole(grace_s, f"{subject}: grace_s", most=MAX_GRACE_S)
    if not_after <= not_before:
        raise MalformedMessageError(f"{subject}: not_after must lie after not_before")


def check_contributors(subject: str, contributors: Mapping[str, int]) -> None:
    """Refuse a contributor number that is out of range or stands for two names.

    Raises:
        MalformedMessageError: names the contributor and the rule.
    """
    owners: dict[int, str] = {}
    for name, number in contributors.items():
        check_name(name, f"{subject}: a contributor's name")
        check_whole(number, f"{subject}: number of {name}", least=1, most=MAX_CONTRIBUTOR)
        if number in owners:
            raise MalformedMessageError(
                f"{subject}: contributor number {number} stands for {owners[number]} and {name}"
            )
        owners[number] = name


def check_askers(subject: str, askers: Mapping[str, Grant]) -> None:
    """Refuse an asker whose name breaks the rule; a grant checks itself.

    Raises:
        MalformedMessageError: names the rule.
    """
    for name in askers:
        check_name(name, f"{subject}: an asker's name")


def grant_fields(askers: Mapping[str, Grant]) -> dict[str, Any]:
    """Return the grants of all askers as a JSON object."""
    return {name: grant.fields() for name, grant in askers.items()}


def read_grants(value: Any, subject: str) -> dict[str, Grant]:
    """Read the grants of all askers from their JSON object.

    Raises:
        MalformedMessageError: on any other value.
    """
    if not isinstance(value, dict):
        raise MalformedMessageError(f"{subject}: askers must be an object")
    check_askers(subject, value)
    return {name: Grant.from_fields(item, f"{subject}: {name}") for name, item in value.items()}


def read_fields(value: Any, names: set[str], subject: str) -> dict[str, Any]:
    """Return a JSON object with exactly these fields.

    Raises:
        MalformedMessageError: no object, or a field is missing or unknown.
    """
    if not isinstance(value, dict):
        raise MalformedMessageError(f"{subject}: must be an object")
    if missing := sorted(names - set(value)):
        raise MalformedMessageError(f"{subject}: the field {missing[0]} is missing")
    if unknown := set(value) - names:
        raise MalformedMessageError(f"{subject}: {len(unknown)} unknown fields")
    return value


def read_hex(value: Any, subject: str, size: int | None = DIGEST_SIZE) -> bytes:
    """Read lower-case hexadecimal of `size` bytes, or of any number of bytes.

    Raises:
        MalformedMessageError: on any other value.
    """
    try:
        data = bytes.fromhex(value)
    except (TypeError, ValueError) as error:
        raise MalformedMessageError(f"{subject}: must be hexadecimal text") from error
    if data.hex() != value:
        raise MalformedMessageError(f"{subject}: must be lower-case hexadecimal without spaces")
    if size is not None:
        check_size(data, size, subject)
    return data
