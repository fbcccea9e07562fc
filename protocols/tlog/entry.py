"""Entries of the audit log: what was done, by whom, for what, on which basis, at what cost.

An entry is public to every partner, to witnesses and to auditors, and it is kept for years.
It therefore has no subject, no case and no free text, and no hash of one either: of 5.2 x 10^8
national numbers every unsalted hash is found in minutes. Who and why stand in the private
part, which stays encrypted with its owner; the entry holds SHA-256(salt || private part) with
a salt of 32 random bytes. Once the owner erases salt and private part the commitment says
nothing, and every proof over the entry still holds.

An entry is RFC 8785 JSON of at most 65,535 bytes with exactly the fields of `Entry`. The
meaning of a written field never changes; another shape is another version.

Source:
    The verbs are those of Directive (EU) 2016/680, article 25. Purposes are IRIs of the W3C
    Data Privacy Vocabulary 2.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, TypeVar

from protocols.dp.events import DpEvent, event_fields, event_from_fields
from protocols.errors import MalformedMessageError
from protocols.jcs import MAX_SAFE_INTEGER, decode_jcs, encode_jcs
from protocols.tlog.private import PSEUDONYM_SIZE
from protocols.tlog.tiles import MAX_ENTRY_SIZE

VERSION = 1
DIGEST_SIZE = 32
MAX_NAMES = 32
MAX_SCOPES = 1_024

# National, telephone and account numbers have nine digits in a row and more; dates have not.
_NO_NUMBER = r"(?!.*[0-9]{9})"
_NAME = re.compile(_NO_NUMBER + r"(?=.{1,64}\Z)[a-z][a-z0-9]*(?:[./-][a-z0-9]+)*", re.ASCII)
_ACT = re.compile(r"[a-z][a-z_]{0,63}", re.ASCII)
_RUN = re.compile(_NO_NUMBER + r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
_POLICY = re.compile(_NO_NUMBER + r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)
_PURPOSE = re.compile(
    _NO_NUMBER + r"(?=.{1,200}\Z)"
    r"https://[a-z0-9-]+(?:\.[a-z0-9-]+)+(?:/[A-Za-z0-9._-]+)*/?(?:#[A-Za-z0-9_-]+)?",
    re.ASCII,
)
_Kind = TypeVar("_Kind", bound=StrEnum)


class Verb(StrEnum):
    """What was done to data of persons."""

    COLLECT = "collect"
    ALTER = "alter"
    CONSULT = "consult"
    DISCLOSE = "disclose"
    COMBINE = "combine"
    ERASE = "erase"


class Decision(StrEnum):
    """What the policy said."""

    PERMIT = "permit"
    DENY = "deny"


class Outcome(StrEnum):
    """What came of it, as far as the writer of the entry knows."""

    HIT = "hit"
    MISS = "miss"
    DONE = "done"  # carried out; whether anything was found is not known here
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement under which something was done: its name, and the hash of its text."""

    name: str
    digest: bytes

    def __post_init__(self) -> None:
        _check_text("agreement", self.name, _NAME)
        _check_size("agreement", self.digest, DIGEST_SIZE)

    def fields(self) -> dict[str, Any]:
        """Return the JSON object of the agreement."""
        return {"digest": self.digest.hex(), "name": self.name}


@dataclass(frozen=True, slots=True)
class Charge:
    """What a release cost, so that every owner can add it up again.

    Args:
        scopes: (cohort, data set, recipient) each.
    """

    run: str
    label: str
    scopes: tuple[tuple[str, str, str], ...]
    event: DpEvent

    def __post_init__(self) -> None:
        _check_text("charge run", self.run, _RUN)
        _check_text("charge label", self.label, _NAME)
        _check_list("charge scopes", self.scopes, 1, MAX_SCOPES)
        for scope in self.scopes:
            _check_list("charge scope", scope, 3, 3, distinct=False)
            for name in scope:
                _check_text("charge scope", name, _NAME)

    def fields(self) -> dict[str, Any]:
        """Return the JSON object of the charge."""
        scopes = [list(scope) for scope in self.scopes]
        event = event_fields(self.event)
        return {"event": event, "label": self.label, "run": self.run, "scopes": scopes}


@dataclass(frozen=True, slots=True)
class Entry:
    """One act on personal data, without anything that tells about whom.

    Args:
        sequence: the index of the entry in its log.
        time: Unix seconds.
        organisation: who acts; `actor` is its own pseudonym for the person or program.
        verb: what it means for data of persons; `act` is its name among the policies.
        purpose: a DPV IRI; `basis` names a legal basis of the agreement's profile, the giving
            side's first one, or "none" where the act needs none.
        agreement: None if none was in force.
        policy_set: hash of the policies in force; `policies` are those that decided, or the
            code of what else stood against the act.
        subject_matter: the data set, model or key acted upon, never a person.
        recipients: the organisations that received something.
        count: how many items, if that is not itself a secret; 0 if nothing was touched.
        document: hash of a public document that the entry puts on record, such as an epoch
            manifest or a model card.
        commitment: binds the private part; every entry has one, so that its presence says
            nothing.
    """

    sequence: int
    time: int
    organisation: str
    actor: bytes
    verb: Verb
    act: str
    purpose: str
    basis: str
    agreement: Agreement | None
    policy_set: bytes
    policies: tuple[str, ...]
    decision: Decision
    outcome: Outcome
    subject_matter: str
    recipients: tuple[str, ...]
    count: int
    document: bytes | None
    charge: Charge | None
    commitment: bytes

    def __post_init__(self) -> None:
        for name, number in (
            ("sequence", self.sequence),
            ("time", self.time),
            ("count", self.count),
        ):
            _check_whole(name, number)
        for name, value in (
            ("organisation", self.organisation),
            ("basis", self.basis),
            ("subject_matter", self.subject_matter),
        ):
            _check_text(name, value, _NAME)
        _check_text("act", self.act, _ACT)
        _check_text("purpose", self.purpose, _PURPOSE)
        _check_list("policies", self.policies, 0, MAX_NAMES)
        _check_list("recipients", self.recipients, 0, MAX_NAMES)
        for policy in self.policies:
            _check_text("policies", policy, _POLICY)
        for recipient in self.recipients:
            _check_text("recipients", recipient, _NAME)
        _check_size("actor", self.actor, PSEUDONYM_SIZE)
        _check_size("policy_set", self.policy_set, DIGEST_SIZE)
        _check_size("commitment", self.commitment, DIGEST_SIZE)
        if self.document is not None:
            _check_size("document", self.document, DIGEST_SIZE)
        self._check_decision()

    def _check_decision(self) -> None:
        refused = self.outcome is Outcome.REFUSED
        if refused is not (self.decision is Decision.DENY):
            raise ValueError("outcome: refused if, and only if, the decision is deny")
        if refused and (self.recipients or self.charge):
            raise ValueError("recipients, charge: nothing is given or paid where it was refused")

    def encode(self) -> bytes:
        """Write the entry as the bytes that the log hashes."""
        data = encode_jcs(
            {
                "version": VERSION,
                "sequence": self.sequence,
                "time": self.time,
                "organisation": self.organisation,
                "actor": self.actor.hex(),
                "verb": self.verb.value,
                "act": self.act,
                "purpose": self.purpose,
                "basis": self.basis,
                "agreement": None if self.agreement is None else self.agreement.fields(),
                "policy_set": self.policy_set.hex(),
                "policies": list(self.policies),
                "decision": self.decision.value,
                "outcome": self.outcome.value,
                "subject_matter": self.subject_matter,
                "recipients": list(self.recipients),
                "count": self.count,
                "document": None if self.document is None else self.document.hex(),
                "charge": None if self.charge is None else self.charge.fields(),
                "commitment": self.commitment.hex(),
            }
        )
        if len(data) > MAX_ENTRY_SIZE:
            raise ValueError(f"entry: {len(data)} bytes, at most {MAX_ENTRY_SIZE}")
        return data

    @classmethod
    def decode(cls, data: bytes) -> Entry:
        """Read an entry.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        if len(data) > MAX_ENTRY_SIZE:
            raise MalformedMessageError(f"entry: {len(data)} bytes, at most {MAX_ENTRY_SIZE}")
        value = decode_jcs(data, "entry")
        try:
            return _entry(value)
        except ValueError as error:
            raise MalformedMessageError(f"entry: {error}") from error


_FIELDS = frozenset(field.name for field in fields(Entry)) | {"version"}
_AGREEMENT_FIELDS = frozenset(field.name for field in fields(Agreement))
_CHARGE_FIELDS = frozenset(field.name for field in fields(Charge))


def _entry(value: Any) -> Entry:
    value = _object("entry", value, _FIELDS)
    if value["version"] != VERSION or value["version"] is True:
        raise MalformedMessageError(f"entry: a version other than {VERSION}")
    agreement, document, charge = value["agreement"], value["document"], value["charge"]
    return Entry(
        sequence=value["sequence"],
        time=value["time"],
        organisation=value["organisation"],
        actor=_unhex("actor", value["actor"]),
        verb=_member(Verb, value["verb"]),
        act=value["act"],
        purpose=value["purpose"],
        basis=value["basis"],
        agreement=None if agreement is None else _agreement(agreement),
        policy_set=_unhex("policy_set", value["policy_set"]),
        policies=_names("policies", value["policies"]),
        decision=_member(Decision, value["decision"]),
        outcome=_member(Outcome, value["outcome"]),
        subject_matter=value["subject_matter"],
        recipients=_names("recipients", value["recipients"]),
        count=value["count"],
        document=None if document is None else _unhex("document", document),
        charge=None if charge is None else _charge(charge),
        commitment=_unhex("commitment", value["commitment"]),
    )


def _agreement(value: Any) -> Agreement:
    value = _object("agreement", value, _AGREEMENT_FIELDS)
    return Agreement(value["name"], _unhex("agreement", value["digest"]))


def _charge(value: Any) -> Charge:
    value = _object("charge", value, _CHARGE_FIELDS)
    if not isinstance(value["scopes"], list):
        raise MalformedMessageError("entry: charge scopes are not a list")
    scopes: list[Any] = [_names("charge scope", scope) for scope in value["scopes"]]
    event = event_from_fields(value["event"])
    return Charge(value["run"], value["label"], tuple(scopes), event)


def _object(subject: str, value: Any, names: frozenset[str]) -> dict[str, Any]:
    # An unknown field, such as one about a person, ends here.
    if not isinstance(value, dict) or value.keys() != names:
        raise MalformedMessageError(f"entry: {subject} has not exactly its own fields")
    return value


def _member(kind: type[_Kind], value: Any) -> _Kind:
    # The enumeration's own error repeats the value, which must not travel on.
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{kind.__name__.lower()}: an unknown word") from None


def _names(subject: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{subject}: not a list of text")
    return tuple(value)


def _unhex(subject: str, value: Any) -> bytes:
    try:
        data = bytes.fromhex(value)
    except (TypeError, ValueError):
        data = b""
    if data.hex() != value:
        raise ValueError(f"{subject}: not lower-case hex")
    return data


def _check_text(subject: str, value: object, form: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(f"{subject}: not text of the form {form.pattern}")


def _check_list(
    subject: str, value: tuple[object, ...], least: int, most: int, *, distinct: bool = True
) -> None:
    if not least <= len(value) <= most or (distinct and len(set(value)) != len(value)):
        raise ValueError(f"{subject}: expected {least} to {most}, each once")


def _check_whole(subject: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SAFE_INTEGER:
        raise ValueError(f"{subject}: not a whole number in 0..2^53 - 1")


def _check_size(subject: str, value: bytes, size: int) -> None:
    if len(value) != size:
        raise ValueError(f"{subject}: {len(value)} bytes, expected {size}")
