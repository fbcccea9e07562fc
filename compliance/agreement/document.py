"""The agreement itself: one document with one canonical form, whose hash is logged with every act.

    a party   drafts it, and every party reads it (`lianfang audit agreement show`)
    party     signs the canonical form                        (`signing`)
    anybody   verifies that all have signed: until then it is a draft and permits nothing
    party     revokes it alone, at once                       (`revocation`)

A change is a new version that names the hash of the one before. Canonical is RFC 8785, so
that other programs can check hash and signatures; a file may be spelled as people like it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from compliance.agreement.fields import Fields, defect, distinct
from compliance.agreement.terms import (
    MAX_PARTIES,
    NAME,
    NAME_RULE,
    Approvers,
    Asker,
    Caps,
    ContractReference,
    Flow,
    Keys,
    Party,
    ProfileReference,
    Retention,
    Special,
    Training,
    check_parties,
    parse_title,
)
from compliance.agreement.vocabulary import Role, Title, What, purposes
from protocols.codec import parse_json
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.jcs import decode_jcs, encode_jcs
from protocols.lookup.signing import check_hub
from protocols.vertical.contract import Contract
from protocols.vertical.plan import HUB

FORMAT = "lianfang/agreement/v1"
MIN_PARTIES = 3
MAX_DURATION_S = 10 * 366 * 86_400
_DIGEST_DOMAIN = b"lianfang/agreement/digest/v1\x00"
_CONTRACT_DOMAIN = b"lianfang/agreement/contract/v1\x00"
_WHERE = "agreement"


@dataclass(frozen=True)  # without slots, so that its hash is computed once
class Agreement:
    """What the parties allow each other, and nothing beyond it.

    Args:
        hub: the trust domain; name: the series, which all versions share.
        purposes: every purpose that any act under it may have.
        contracts, askers: by party.
        not_before, not_after: Unix seconds; in force from the first, up to the second.
        supersedes: hash of the version before; None for the first.
    """

    hub: str
    name: str
    version: int
    title: Title
    profile: ProfileReference
    parties: tuple[Party, ...]
    purposes: tuple[str, ...]
    flows: tuple[Flow, ...]
    special: tuple[Special, ...]
    contracts: Mapping[str, ContractReference]
    caps: Caps
    training: Training
    keys: Keys
    askers: Mapping[str, Asker]
    approvers: Approvers
    retention: Retention
    not_before: int
    not_after: int
    supersedes: bytes | None

    def __post_init__(self) -> None:
        check_hub(self.hub, f"{_WHERE}.hub")
        _check_validity(self)
        _check_members(self)
        _check_purposes(self)
        _check_flows(self)
        _check_names(self)

    @property
    def names(self) -> tuple[str, ...]:
        """Return all parties' names, in the document's order."""
        return tuple(party.name for party in self.parties)

    def party(self, name: str) -> Party | None:
        """Return a party by name, or None."""
        return next((party for party in self.parties if party.name == name), None)

    def flow(self, what: What, source: str, recipient: str, purpose: str) -> Flow | None:
        """Return the flow that covers one direction for one purpose, or None."""
        wanted = (what, source, recipient)
        for flow in self.flows:
            if (flow.what, flow.source, flow.recipient) == wanted and purpose in flow.purposes:
                return flow
        return None

    @property
    def contributors(self) -> tuple[str, ...]:
        """Return the parties that give reports to anybody."""
        giving = {flow.source for flow in self.flows if flow.what is What.REPORT}
        return tuple(name for name in self.names if name in giving)

    @cached_property
    def digest(self) -> bytes:
        """Name the document in 32 bytes."""
        return sha256(_DIGEST_DOMAIN + self.encode()).digest()

    def covers(self, now: int) -> bool:
        """Report whether `now` lies in its time; whether it is in force, the store knows."""
        return self.not_before <= now < self.not_after

    def encode(self) -> bytes:
        """Write the canonical form (RFC 8785)."""
        return encode_jcs(self.format())

    def format(self) -> dict[str, Any]:
        """Return the JSON form that `parse` reads."""
        return {
            "format": FORMAT,
            "hub": self.hub,
            "name": self.name,
            "version": self.version,
            "title": {"en": self.title.en, "zh": self.title.zh},
            "profile": self.profile.format(),
            "parties": [party.format() for party in self.parties],
            "purposes": list(self.purposes),
            "flows": [flow.format() for flow in self.flows],
            "special": [item.format() for item in self.special],
            "contracts": {name: item.format() for name, item in self.contracts.items()},
            "caps": self.caps.format(),
            "training": self.training.format(),
            "keys": self.keys.format(),
            "askers": {name: item.format() for name, item in self.askers.items()},
            "approvers": self.approvers.format(),
            "retention": self.retention.format(),
            "not_before": self.not_before,
            "not_after": self.not_after,
            "supersedes": None if self.supersedes is None else self.supersedes.hex(),
        }

    @classmethod
    def decode(cls, data: bytes) -> Agreement:
        """Read the canonical form.

        Raises:
            MalformedMessageError: on any other byte string; names field, rule and cure.
        """
        found = cls.parse(decode_jcs(data, _WHERE))
        if found.encode() != data:
            raise MalformedMessageError(f"{_WHERE}: not in canonical form")
        return found

    @classmethod
    def parse_text(cls, data: bytes) -> Agreement:
        """Read a file that people wrote: any spelling of the JSON form.

        Raises:
            MalformedMessageError: names field, rule and cure.
        """
        return cls.parse(parse_json(data, _WHERE))

    @classmethod
    def parse(cls, value: object) -> Agreement:
        """Read the JSON form.

        Raises:
            MalformedMessageError: names field, rule and cure.
        """
        fields = Fields.of(value, set(cls.__dataclass_fields__) | {"format"}, _WHERE)
        if fields.values["format"] != FORMAT:
            raise defect(fields.at("format"), f"must be {FORMAT}")
        former = fields.values["supersedes"]
        return cls(
            hub=fields.text("hub"),
            name=fields.matched("name", NAME, NAME_RULE),
            version=fields.whole("version", least=1),
            title=parse_title(fields.values["title"], fields.at("title")),
            profile=ProfileReference.parse(fields.values["profile"], fields.at("profile")),
            parties=_parsed(fields, "parties", Party.parse),
            purposes=fields.texts("purposes", least=1),
            flows=_parsed(fields, "flows", Flow.parse),
            special=_parsed(fields, "special", Special.parse),
            contracts=_mapped(fields, "contracts", ContractReference.parse),
            caps=Caps.parse(fields.values["caps"], fields.at("caps")),
            training=Training.parse(fields.values["training"], fields.at("training")),
            keys=Keys.parse(fields.values["keys"], fields.at("keys")),
            askers=_mapped(fields, "askers", Asker.parse),
            approvers=Approvers.parse(fields.values["approvers"], fields.at("approvers")),
            retention=Retention.parse(fields.values["retention"], fields.at("retention")),
            not_before=fields.whole("not_before"),
            not_after=fields.whole("not_after"),
            supersedes=None if former is None else fields.digest("supersedes"),
        )


def contract_reference(contract: Contract) -> ContractReference:
    """Return what an agreement says of a feature contract."""
    try:
        data = encode_jcs(contract.format())
    except ValueError as error:
        raise UnsupportedParameterError(
            "contract: holds what JSON cannot say exactly; correct the contract"
        ) from error
    return ContractReference(
        sha256(_CONTRACT_DOMAIN + data).digest(),
        tuple(column.name for column in contract.columns),
        contract.label is not None,
    )


def _parsed(fields: Fields, name: str, parse: Any) -> tuple[Any, ...]:
    return tuple(
        parse(item, f"{fields.at(name)}[{index}]") for index, item in enumerate(fields.items(name))
    )


def _mapped(fields: Fields, name: str, parse: Any) -> dict[str, Any]:
    return {
        key: parse(item, f"{fields.at(name)}.{key[:32]}")
        for key, item in fields.mapping(name).items()
    }


def _check_validity(agreement: Agreement) -> None:
    if not 0 < agreement.not_after - agreement.not_before <= MAX_DURATION_S:
        raise defect(f"{_WHERE}.not_after", "must lie after not_before, by at most ten years")
    if (agreement.version == 1) is not (agreement.supersedes is None):
        raise defect(
            f"{_WHERE}.supersedes",
            "must be null in version 1, and the hash of the version before in every other",
        )


def _check_members(agreement: Agreement) -> None:
    parties = agreement.parties
    where = f"{_WHERE}.parties"
    if not MIN_PARTIES <= len(parties) <= MAX_PARTIES:
        raise defect(where, f"must be {MIN_PARTIES} to {MAX_PARTIES}, the hub among them")
    distinct(agreement.names, where)
    # One key under two names would sign twice where two parties must agree.
    distinct(tuple(party.identity for party in parties), where)
    hubs = [party.name for party in parties if party.role is Role.HUB]
    if hubs != [HUB]:
        raise defect(where, f"exactly one party has the role hub, and its name is {HUB}")


def _check_purposes(agreement: Agreement) -> None:
    for purpose in agreement.purposes:
        if purpose not in purposes():
            raise defect(
                f"{_WHERE}.purposes", "one is not in the closed list", "take one of the list"
            )
    for name, asker in agreement.askers.items():
        for channel, purpose in asker.channels.items():
            if purpose not in agreement.purposes:
                raise defect(
                    f"{_WHERE}.askers.{name}.channels.{channel}",
                    "must be a purpose of this agreement",
                )


def _check_flows(agreement: Agreement) -> None:
    where = f"{_WHERE}.flows"
    directions = tuple(flow.name for flow in agreement.flows)
    distinct(directions, where)
    for index, flow in enumerate(agreement.flows):
        check_parties((flow.source, flow.recipient), set(agreement.names), f"{where}[{index}]")
        if not set(flow.purposes) <= set(agreement.purposes):
            raise defect(f"{where}[{index}].purposes", "must be purposes of this agreement")


def _check_names(agreement: Agreement) -> None:
    """Refuse any name that is not a party's, and owners who are not asked about a run."""
    parties = set(agreement.names)
    organisations = parties - {HUB}
    lists = (
        ("contracts", tuple(agreement.contracts), organisations),
        ("askers", tuple(agreement.askers), organisations),
        ("caps.recipients", tuple(agreement.caps.recipients), parties),
        ("training.compute", agreement.training.compute, parties),
        ("keys.holders", agreement.keys.holders, parties),
        ("approvers.run", agreement.approvers.run, parties),
        ("approvers.epoch", agreement.approvers.epoch, parties),
        ("approvers.release", agreement.approvers.release, parties),
    )
    for field, names, allowed in lists:
        check_parties(names, allowed, f"{_WHERE}.{field}")
    for index, item in enumerate(agreement.special):
        check_parties((item.party,), organisations, f"{_WHERE}.special[{index}]")
    must = (
        ("approvers.run", agreement.approvers.run, set(agreement.contracts), "contract"),
        ("approvers.epoch", agreement.approvers.epoch, set(agreement.keys.holders), "key share"),
    )
    for field, names, owners, thing in must:
        if left := sorted(owners - set(names)):
            raise defect(
                f"{_WHERE}.{field}",
                f"{left[0]} has a {thing} and is not asked",
                "add it, so that nothing of a party is used without its approval",
            )
