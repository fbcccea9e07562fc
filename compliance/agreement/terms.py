"""The parts of an agreement, each reading itself strictly from JSON and writing itself back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compliance.agreement.fields import Fields, defect, distinct, read_matched, read_number
from compliance.agreement.vocabulary import Channel, Role, Title, What
from protocols.epoch.grants import MAX_WHOLE
from protocols.oprf.shares import MIN_THRESHOLD
from protocols.vertical.contract import MAX_COLUMNS
from protocols.vertical.plan import COMPUTE_PARTIES, MAX_DELTA, MAX_EPSILON

MAX_MONTHS = 1_200
MAX_PARTIES = 16
NAME = re.compile(r"(?=.{1,32}\Z)[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)
NAME_RULE = "1 to 32 of a-z, 0-9 and single '-', a letter first"
BASIS = re.compile(r"(?=.{1,64}\Z)[a-z][a-z0-9]*(?:[./-][a-z0-9]+)*", re.ASCII)
BASIS_RULE = "the id of a legal basis of the profile, such as tw/pdpa-20-4"
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_MEMBERSHIP = {"hidden", "shared"}
_PSEUDONYMS = {"oblivious", "keyed"}


@dataclass(frozen=True, slots=True)
class Party:
    """One organisation that signs.

    Args:
        identity: its Ed25519 public key.
        sector: an id of the profile, which sets its incident clock.
        country: ISO 3166-1, two letters.
    """

    name: str
    role: Role
    title: Title
    identity: bytes
    sector: str
    country: str

    @classmethod
    def parse(cls, value: object, path: str) -> Party:
        """Read a party."""
        fields = Fields.of(value, set(cls.__dataclass_fields__), path)
        return cls(
            name=fields.matched("name", NAME, NAME_RULE),
            role=fields.choice("role", Role),
            title=parse_title(fields.values["title"], fields.at("title")),
            identity=fields.digest("identity"),
            sector=fields.matched("sector", NAME, NAME_RULE),
            country=fields.matched("country", _COUNTRY, "a country of ISO 3166-1, such as TW"),
        )

    def format(self) -> dict[str, Any]:
        """Write a party."""
        return {
            "name": self.name,
            "role": self.role.value,
            "title": {"en": self.title.en, "zh": self.title.zh},
            "identity": self.identity.hex(),
            "sector": self.sector,
            "country": self.country,
        }


@dataclass(frozen=True, slots=True)
class Flow:
    """One direction of flow and what it rests on, on both sides.

    Args:
        basis: why `source` may give; recipient_basis: why `recipient` may receive.
    """

    source: str
    recipient: str
    what: What
    purposes: tuple[str, ...]
    basis: str
    recipient_basis: str

    @property
    def name(self) -> str:
        """Name the direction."""
        return f"{self.what} from {self.source} to {self.recipient}"

    @classmethod
    def parse(cls, value: object, path: str) -> Flow:
        """Read a flow."""
        names = {"from", "to", "what", "purposes", "basis", "recipient_basis"}
        fields = Fields.of(value, names, path)
        source = fields.matched("from", NAME, NAME_RULE)
        recipient = fields.matched("to", NAME, NAME_RULE)
        if source == recipient:
            raise defect(path, "from and to are the same party", "name two, or remove the flow")
        return cls(
            source,
            recipient,
            fields.choice("what", What),
            fields.texts("purposes", least=1),
            fields.matched("basis", BASIS, BASIS_RULE),
            fields.matched("recipient_basis", BASIS, BASIS_RULE),
        )

    def format(self) -> dict[str, Any]:
        """Write a flow."""
        return {
            "from": self.source,
            "to": self.recipient,
            "what": self.what.value,
            "purposes": list(self.purposes),
            "basis": self.basis,
            "recipient_basis": self.recipient_basis,
        }


@dataclass(frozen=True, slots=True)
class ContractReference:
    """Which columns a party may use in training, and the hash of the contract that has them.

    The hash binds ranges, levels and kinds, which only their owner has to know; the names
    let every other party see whether a plan stays within them.
    """

    digest: bytes
    columns: tuple[str, ...]
    label: bool

    @classmethod
    def parse(cls, value: object, path: str) -> ContractReference:
        """Read a reference."""
        fields = Fields.of(value, set(cls.__dataclass_fields__), path)
        columns = fields.texts("columns", most=MAX_COLUMNS)
        return cls(fields.digest("digest"), columns, fields.flag("label"))

    def format(self) -> dict[str, Any]:
        """Write a reference."""
        columns = list(self.columns)
        return {"digest": self.digest.hex(), "columns": columns, "label": self.label}


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that may be learned from one owner's people, for as long as this holds.

    Args:
        run_epsilon: by one run; recipients: by each recipient over all runs, by name;
            total_epsilon: by all recipients together.
        delta: for each of these.
    """

    run_epsilon: float
    recipients: Mapping[str, float]
    total_epsilon: float
    delta: float

    @classmethod
    def parse(cls, value: object, path: str) -> Caps:
        """Read the caps."""
        fields = Fields.of(value, set(cls.__dataclass_fields__), path)
        total = fields.number("total_epsilon", most=MAX_EPSILON)
        recipients = {
            name: read_number(item, f"{path}.recipients.{name[:32]}", most=total)
            for name, item in fields.mapping("recipients").items()
        }
        run_epsilon = fields.number("run_epsilon", most=total)
        return cls(run_epsilon, recipients, total, fields.number("delta", most=MAX_DELTA))

    def format(self) -> dict[str, Any]:
        """Write the caps."""
        return {
            "run_epsilon": self.run_epsilon,
            "recipients": dict(self.recipients),
            "total_epsilon": self.total_epsilon,
            "delta": self.delta,
        }


@dataclass(frozen=True, slots=True)
class Training:
    """How a run may be carried out.

    Args:
        compute: the parties of which three may hold the shares of a run.
        membership: `hidden`, `shared` or both; pseudonyms: `oblivious`, `keyed` or both.
    """

    compute: tuple[str, ...]
    membership: tuple[str, ...]
    pseudonyms: tuple[str, ...]
    min_rows: int

    @classmethod
    def parse(cls, value: object, path: str) -> Training:
        """Read the terms of training."""
        fields = Fields.of(value, set(cls.__dataclass_fields__), path)
        found = cls(
            fields.texts("compute", least=COMPUTE_PARTIES, most=MAX_PARTIES),
            fields.texts("membership", least=1),
            fields.texts("pseudonyms", least=1),
            fields.whole("min_rows", least=1),
        )
        if not set(found.membership) <= _MEMBERSHIP:
            raise defect(fields.at("membership"), "may list hidden and shared")
        if not set(found.pseudonyms) <= _PSEUDONYMS:
            raise defect(fields.at("pseudonyms"), "may list oblivious and keyed")
        return found

    def format(self) -> dict[str, Any]:
        """Write the terms of training."""
        return {
            "compute": list(self.compute),
            "membership": list(self.membership),
            "pseudonyms": list(self.pseudonyms),
            "min_rows": self.min_rows,
        }


@dataclass(frozen=True, slots=True)
class Keys:
    """Who holds a share of the key of an epoch, and how many together can answer."""

    holders: tuple[str, ...]
    threshold: int

    @classmethod
    def parse(cls, value: object, path: str) -> Keys:
        """Read the key holders."""
        fields = Fields.of(value, set(cls.__dataclass_fields__), path)
        holders = fields.texts("holders", least=MIN_THRESHOLD, most=MAX_PARTIES)
        return cls(holders, fields.whole("threshold", least=MIN_THRESHOLD, most=len(holders)))

    def format(self) -> dict[str, Any]:
        """Write the key holders."""
        return {"holders": list(self.holders), "threshold": self.threshold}


@dataclass(frozen=True, slots=True)
class Asker:
    """What one party may have evaluated in an epoch.

    Args:
        quota: elements for each epoch, at every holder.
        channels: for which purpose it may ask in each channel.
    """

    quota: int
    channels: Mapping[Channel, str]

    @classmethod
    def parse(cls, value: object, path: str) -> Asker:
        """Read an asker."""
        fields = Fields.of(value, set(cls.__dataclass_fields__), path)
        channels = {}
        for name, purpose in fields.mapping("channels").items():
            try:
                channel = Channel(name)
            except ValueError as error:
                raise defect(
                    fields.at("channels"), f"unknown channel {name[:32]}", "correct its name"
                ) from error
            channels[channel] = purpose
        if not channels:
            raise defect(fields.at("channels"), "names none", "name one or leave the asker out")
        return cls(fields.whole("quota", least=1, most=MAX_WHOLE), channels)

    def format(self) -> dict[str, Any]:
        """Write an asker."""
        channels = {channel.value: purpose for channel, purpose in self.channels.items()}
        return {"quota": self.quota, "channels": channels}


@dataclass(frozen=True, slots=True)
class Approvers:
    """Whose approval each run, each new epoch and each release of scores needs: of all named."""

    run: tuple[str, ...]
    epoch: tuple[str, ...]
    release: tuple[str, ...]

    @classmethod
    def parse(cls, value: object, path: str) -> Approvers:
        """Read the approvers."""
        fields = Fields.of(value, set(cls.__dataclass_fields__), path)
        return cls(*(fields.texts(name, least=1) for name in ("run", "epoch", "release")))

    def format(self) -> dict[str, Any]:
        """Write the approvers."""
        return {
            "run": list(self.run),
            "epoch": list(self.epoch),
            "release": list(self.release),
        }


@dataclass(frozen=True, slots=True)
class Retention:
    """How long each kind of record is kept, in months."""

    log_months: int
    reports_months: int
    scores_months: int
    models_months: int

    @classmethod
    def parse(cls, value: object, path: str) -> Retention:
        """Read the retention."""
        names = tuple(cls.__dataclass_fields__)
        fields = Fields.of(value, set(names), path)
        return cls(*(fields.whole(name, least=1, most=MAX_MONTHS) for name in names))

    def format(self) -> dict[str, Any]:
        """Write the retention."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Special:
    """A special category of data that a party brings, and the law that lets it."""

    party: str
    category: str
    basis: str

    @classmethod
    def parse(cls, value: object, path: str) -> Special:
        """Read a declaration."""
        fields = Fields.of(value, set(cls.__dataclass_fields__), path)
        return cls(
            fields.matched("party", NAME, NAME_RULE),
            fields.matched("category", NAME, NAME_RULE),
            fields.matched("basis", BASIS, BASIS_RULE),
        )

    def format(self) -> dict[str, Any]:
        """Write a declaration."""
        return {"party": self.party, "category": self.category, "basis": self.basis}


@dataclass(frozen=True, slots=True)
class ProfileReference:
    """The profile of a jurisdiction, and the hash of the text that was agreed to."""

    id: str
    digest: bytes

    @classmethod
    def parse(cls, value: object, path: str) -> ProfileReference:
        """Read a reference."""
        fields = Fields.of(value, set(cls.__dataclass_fields__), path)
        return cls(fields.matched("id", NAME, NAME_RULE), fields.digest("digest"))

    def format(self) -> dict[str, Any]:
        """Write a reference."""
        return {"id": self.id, "digest": self.digest.hex()}


def parse_title(value: object, path: str) -> Title:
    """Read a heading in both languages."""
    fields = Fields.of(value, {"en", "zh"}, path)
    return Title(fields.text("en"), fields.text("zh"))


def check_parties(names: tuple[str, ...], parties: set[str], path: str) -> None:
    """Refuse a name that is no party's, or stands there twice."""
    distinct(names, path)
    for name in names:
        read_matched(name, NAME, NAME_RULE, path)
        if name not in parties:
            raise defect(path, f"{name} is not a party", "add the party or remove the name")
