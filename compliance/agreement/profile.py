"""The profile of a jurisdiction: incident clocks, retention, rights, special data, legal bases.

Profiles are data (`profiles/tw.json`, `profiles/eu.json`), every item with its source. An
agreement names the one it rests on by hash, so that a later edition of a profile changes
nothing in an agreement that was signed before.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from compliance.agreement.fields import Fields, defect
from compliance.agreement.terms import (
    BASIS,
    BASIS_RULE,
    MAX_MONTHS,
    NAME,
    NAME_RULE,
    ProfileReference,
    parse_title,
)
from compliance.agreement.vocabulary import Role, Title, What
from protocols.codec import parse_json
from protocols.errors import UnsupportedParameterError
from protocols.jcs import encode_jcs

FORMAT = "lianfang/agreement/profile/v1"
EVERY = "*"
_DOMAIN = b"lianfang/agreement/profile-digest/v1\x00"
_MAX_HOURS = 24 * 366


class Standing(StrEnum):
    """Whether an item is law. What is to be confirmed may be used, and is shown as such."""

    IN_FORCE = "in_force"
    TO_BE_CONFIRMED = "to_be_confirmed"
    NOT_APPLICABLE = "not_applicable"


class Side(StrEnum):
    """For whom a basis is: who gives, who receives, both, or who has special data at all."""

    GIVES = "gives"
    RECEIVES = "receives"
    BOTH = "both"
    SPECIAL = "special"


class Unit(StrEnum):
    """In what a deadline is counted."""

    DAYS = "days"
    MONTHS = "months"


class Kept(StrEnum):
    """What a floor of retention is about; the names of `Retention` without their unit."""

    LOG = "log"
    REPORTS = "reports"
    SCORES = "scores"
    MODELS = "models"


@dataclass(frozen=True, slots=True)
class Sector:
    """A trade, the role that it can have here, and its authority."""

    id: str
    role: Role
    title: Title
    authority: Title


@dataclass(frozen=True, slots=True)
class Clock:
    """Within how many hours whom an incident is told; `sector` may be `*`."""

    sector: str
    to: str
    hours: int
    when: Title
    source: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Floor:
    """How long something must be kept at least."""

    what: Kept
    at_least_months: int
    sectors: tuple[str, ...]
    title: Title
    source: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Span:
    """A number of days or of calendar months."""

    count: int
    unit: Unit


@dataclass(frozen=True, slots=True)
class Right:
    """A right of the person concerned, with the time to answer and grounds of refusal."""

    id: str
    title: Title
    deadline: Span
    extension: Span
    refusals: tuple[Title, ...]
    source: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Category:
    """A special category of data."""

    id: str
    title: Title
    source: str


@dataclass(frozen=True, slots=True)
class Basis:
    """A legal basis, and who may rest what on it, towards whom."""

    id: str
    side: Side
    roles: tuple[Role, ...]
    counterparts: tuple[str, ...]
    what: tuple[What, ...]
    title: Title
    limits: Title | None
    source: str
    standing: Standing

    def objection(self, side: Side, what: What | None, role: Role, other: Role | None) -> str:
        """Say why a party cannot rest a flow on this basis; empty if it can."""
        if self.standing is Standing.NOT_APPLICABLE:
            return f"{self.id} does not apply ({self.source})"
        if self.side is not side and not (self.side is Side.BOTH and side is not Side.SPECIAL):
            return f"{self.id} is no basis for one who {_SIDES[side]}"
        if role not in self.roles:
            return f"{self.id} is no basis for the role {role}"
        if what is not None and what not in self.what:
            return f"{self.id} does not cover {what}"
        if other is not None and not {EVERY, other.value} & set(self.counterparts):
            return f"{self.id} does not reach the role {other}"
        return ""


_SIDES = {Side.GIVES: "gives", Side.RECEIVES: "receives", Side.SPECIAL: "has special data"}


@dataclass(frozen=True, slots=True)
class Profile:
    """The rules of a jurisdiction, as data."""

    id: str
    version: int
    title: Title
    countries: tuple[str, ...]
    note: Title
    sectors: tuple[Sector, ...]
    clocks: tuple[Clock, ...]
    retention: tuple[Floor, ...]
    rights: tuple[Right, ...]
    special_categories: tuple[Category, ...]
    bases: tuple[Basis, ...]
    digest: bytes

    @property
    def reference(self) -> ProfileReference:
        """Return how an agreement names this profile."""
        return ProfileReference(self.id, self.digest)

    def basis(self, name: str) -> Basis | None:
        """Return a legal basis by id, or None."""
        return next((basis for basis in self.bases if basis.id == name), None)

    def sector(self, name: str) -> Sector | None:
        """Return a sector by id, or None."""
        return next((sector for sector in self.sectors if sector.id == name), None)

    def clocks_of(self, sector: str) -> tuple[Clock, ...]:
        """Return the incident clocks of a sector, the shortest first."""
        found = [clock for clock in self.clocks if clock.sector in (sector, EVERY)]
        return tuple(sorted(found, key=lambda clock: clock.hours))

    @classmethod
    def parse(cls, data: bytes) -> Profile:
        """Read a profile.

        Raises:
            MalformedMessageError: names field, rule and cure.
        """
        where = "profile"
        value = parse_json(data, where)
        names = set(cls.__dataclass_fields__) - {"digest"} | {"format"}
        fields = Fields.of(value, names, where)
        if fields.values["format"] != FORMAT:
            raise defect(fields.at("format"), f"must be {FORMAT}")
        return cls(
            id=fields.matched("id", NAME, NAME_RULE),
            version=fields.whole("version", least=1),
            title=_title(fields, "title"),
            countries=fields.texts("countries", least=1),
            note=_title(fields, "note"),
            sectors=_list(fields, "sectors", _sector),
            clocks=_list(fields, "clocks", _clock),
            retention=_list(fields, "retention", _floor),
            rights=_list(fields, "rights", _right),
            special_categories=_list(fields, "special_categories", _category),
            bases=_list(fields, "bases", _basis),
            digest=profile_digest(data),
        )


def profile_digest(data: bytes) -> bytes:
    """Name the content of a profile in 32 bytes, however the file is spelled."""
    return sha256(_DOMAIN + encode_jcs(parse_json(data, "profile"))).digest()


def shipped_bytes(name: str) -> bytes:
    """Return the file of a profile that comes with the program.

    Raises:
        UnsupportedParameterError: there is none of this name.
    """
    folder = files(__package__).joinpath("profiles")
    known = sorted(item.name.removesuffix(".json") for item in folder.iterdir())
    if name not in known:
        raise UnsupportedParameterError(
            f"profile: {name[:32]} is unknown; take one of {', '.join(known)}"
        )
    return folder.joinpath(f"{name}.json").read_bytes()


@cache
def shipped_profile(name: str) -> Profile:
    """Read a profile that comes with the program.

    Raises:
        UnsupportedParameterError: there is none of this name.
    """
    return Profile.parse(shipped_bytes(name))


def _title(fields: Fields, name: str) -> Title:
    return parse_title(fields.values[name], fields.at(name))


def _list(fields: Fields, name: str, read: Any) -> tuple[Any, ...]:
    items = fields.items(name)
    return tuple(read(item, f"{fields.at(name)}[{index}]") for index, item in enumerate(items))


def _sector(value: object, path: str) -> Sector:
    fields = Fields.of(value, set(Sector.__dataclass_fields__), path)
    return Sector(
        fields.matched("id", NAME, NAME_RULE),
        fields.choice("role", Role),
        _title(fields, "title"),
        _title(fields, "authority"),
    )


def _clock(value: object, path: str) -> Clock:
    fields = Fields.of(value, set(Clock.__dataclass_fields__), path)
    return Clock(
        fields.text("sector"),
        fields.text("to"),
        fields.whole("hours", least=1, most=_MAX_HOURS),
        _title(fields, "when"),
        fields.text("source"),
        fields.choice("standing", Standing),
    )


def _floor(value: object, path: str) -> Floor:
    fields = Fields.of(value, set(Floor.__dataclass_fields__), path)
    return Floor(
        fields.choice("what", Kept),
        fields.whole("at_least_months", least=1, most=MAX_MONTHS),
        fields.texts("sectors", least=1),
        _title(fields, "title"),
        fields.text("source"),
        fields.choice("standing", Standing),
    )


def _right(value: object, path: str) -> Right:
    fields = Fields.of(value, set(Right.__dataclass_fields__), path)
    return Right(
        fields.matched("id", NAME, NAME_RULE),
        _title(fields, "title"),
        _span(fields, "deadline"),
        _span(fields, "extension"),
        tuple(
            parse_title(item, f"{fields.at('refusals')}[{index}]")
            for index, item in enumerate(fields.items("refusals"))
        ),
        fields.text("source"),
        fields.choice("standing", Standing),
    )


def _span(fields: Fields, name: str) -> Span:
    inner = Fields.of(fields.values[name], {"count", "unit"}, fields.at(name))
    return Span(inner.whole("count", most=366), inner.choice("unit", Unit))


def _category(value: object, path: str) -> Category:
    fields = Fields.of(value, set(Category.__dataclass_fields__), path)
    return Category(
        fields.matched("id", NAME, NAME_RULE), _title(fields, "title"), fields.text("source")
    )


def _basis(value: object, path: str) -> Basis:
    fields = Fields.of(value, set(Basis.__dataclass_fields__), path)
    limits = fields.values["limits"]
    return Basis(
        fields.matched("id", BASIS, BASIS_RULE),
        fields.choice("side", Side),
        fields.choices("roles", Role),
        fields.texts("counterparts"),
        fields.choices("what", What),
        _title(fields, "title"),
        None if limits is None else _title(fields, "limits"),
        fields.text("source"),
        fields.choice("standing", Standing),
    )
