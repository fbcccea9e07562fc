"""What people at the hub do about partners: invite, look at a request, answer it, revoke.

Inviting commits nobody: a code lets its holder ask, once; turning a request down is entered, and
told to the node that asks. Taking in and revoking are acts of two people, decided and entered
before anything changes.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from compliance.configuration import ConfigError
from compliance.errors import NotPermittedError
from compliance.office.about import About
from compliance.office.office import Office
from compliance.policy.actors import PSEUDONYM_SIZE, Person, StaffRole
from compliance.policy.decision import Decision
from compliance.staff.acting import Acting
from compliance.staff.consents import MAX_WHAT
from protocols.enrolment.code import SECRET_SIZE, InvitationCode
from protocols.jcs import encode_jcs
from protocols.tlog.entry import Verb
from protocols.vertical.contract import Contract
from server.enrolment.invitations import REJECTED, Invitation, Invitations
from server.home import BROUGHT, HubHome
from server.identity.authority import load_authority, requested_key
from server.identity.issued import is_revoked
from server.identity.peer import CONTROL_NAME

HOUR_S = 3600
MAX_REASON = 500
LONGEST_HOURS = 720
# What can stand in an entry of the log, where every partner is named: no long number in it.
_NAME = re.compile(r"(?!.*\d{9})(?=.{1,63}\Z)[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Request:
    """A join request as it is shown to those who decide."""

    fields: dict[str, Any]
    number: str = ""

    @property
    def name(self) -> str:
        """Return whom it would take in."""
        return str(self.fields["name"])

    def keys(self) -> dict[str, str]:
        """Return the identity key, and SHA-256 of the other two (SubjectPublicKeyInfo)."""
        public = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        tls = requested_key(self.fields["tls_request"].encode())
        flower = load_pem_public_key(self.fields["flower_public"].encode())
        return {
            "identity": self.fields["identity"],
            "tls": sha256(tls.public_bytes(*public)).hexdigest(),
            "flower": sha256(flower.public_bytes(*public)).hexdigest(),
        }

    def brought(self) -> str:
        """Return the subject and the end of a certificate that is brought along, if one is."""
        if BROUGHT not in self.fields:
            return ""
        found = x509.load_pem_x509_certificate(self.fields[BROUGHT].encode())
        return f"{found.subject.rfc4514_string()}, until {found.not_valid_after_utc:%Y-%m-%d}"

    def contract(self) -> dict[str, Any]:
        """Return what the partner would bring: kind of identifier, label, columns."""
        agreed = Contract.parse(self.fields["contract"]).format()
        return {
            "identifier": agreed["identifier"]["kind"],
            "label": agreed["label"],
            "columns": [column["name"] for column in agreed["columns"]],
        }

    def text(self) -> str:
        """Return all of it for a terminal."""
        keys, contract = self.keys(), self.contract()
        columns = contract["columns"]
        more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
        return "\n".join(
            [
                f"{self.name} asks to be taken in.",
                f"  identity key     {keys['identity']}",
                f"  TLS key          sha256 {keys['tls']}",
                f"  SuperNode key    sha256 {keys['flower']}",
                f"  certificate      {self.brought() or 'to be issued here'}",
                f"  identifier       {contract['identifier']}",
                f"  label            {contract['label'] or 'none'}",
                f"  {len(columns):>3} columns      {', '.join(columns[:_SHOWN])}{more}",
            ]
        )


def invite(
    home: HubHome, office: Office, name: str, who: Acting, *, now: int, hours: int
) -> tuple[InvitationCode, Invitation]:
    """Make a code with which `name` may ask to join, once, for so many hours.

    Args:
        who: whoever could take the partner in, together with a second person.

    Raises:
        ConfigError: nobody can be taken in under this name, or the hours are out of range.
        NotPermittedError: this person could take nobody in; that is entered.
    """
    if not 1 <= hours <= LONGEST_HOURS:
        raise ConfigError(f"hours: must be 1 to {LONGEST_HOURS}; correct them")
    if name == CONTROL_NAME or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name[:32]}: needs a letter, then letters, digits and single hyphens, at most 63, "
            "no nine digits in a row; choose another name"
        )
    kept = home.known().get(name)
    if kept is not None and is_revoked(kept):
        raise ConfigError(f"{name}: was revoked, and its name stays taken; choose another name")
    _check_could_approve(office, name, who)
    settings = home.settings()
    authority = load_authority(home.authority).certificate
    code = InvitationCode(
        f"{settings.host}:{settings.api_port}",
        settings.name,
        authority.fingerprint(SHA256()),
        secrets.token_bytes(SECRET_SIZE),
    )
    made = Invitations(home.root).make(name, code.secret, now=now, lasts_s=hours * HOUR_S)
    return code, made


def waiting_request(home: HubHome, name: str) -> Request:
    """Return the request that waits under a name.

    Raises:
        ConfigError: none does; names those that do.
    """
    invitations = Invitations(home.root)
    waiting = invitations.waiting()
    number = waiting.get(name, "")
    found = invitations.request(number)
    if found is None:
        others = ", ".join(sorted(waiting)) or "nobody"
        raise ConfigError(
            f"{name[:32]}: no request waits under this name, and there is no such file; "
            f"waiting: {others}"
        )
    return Request(found, number)


def revoke(
    home: HubHome, office: Office, name: str, who: Acting, *, now: int, reason: str
) -> dict[str, Any]:
    """Revoke a partner, once two people decided it and it is entered; returns what it handed in.

    Raises:
        NotPermittedError: the policies do not permit it; that is entered.
        UnsupportedParameterError: nobody of this name has joined, or it is revoked already.
    """

    def enter(kept: Mapping[str, Any]) -> Decision:
        digest = sha256(encode_jcs(dict(kept))).digest()
        about = About(
            Verb.ALTER,
            "partners",
            recipients=(name,),
            count=1,
            document=digest,
            subject=f"partner {digest.hex()} revoked",
            reason=reason,
        )
        return who.perform(
            office,
            "remove_partner",
            about,
            what=f"revoke {name} for good, identity key {kept.get('identity')}"[:MAX_WHAT],
            to=office.party(name),
        )

    return home.revoke(name, now, enter=enter)


def reject(
    home: HubHome, office: Office, name: str, who: Acting, *, now: int, reason: str
) -> Request:
    """Turn a waiting request down, once that is entered; its node is told the reason.

    One person suffices: nobody is taken in, and who was rejected may be invited again.

    Args:
        reason: for the partner to read; it names no person.

    Raises:
        ConfigError: no request waits under this name, or the reason cannot be read.
        NotPermittedError: this person could take nobody in; that is entered.
    """
    text = _readable(reason)
    asked = waiting_request(home, name)
    _check_could_approve(office, name, who, act="reject")
    # Without a second person, as it is: what is entered is that this one said no.
    decision = office.decide(
        "approve_partner", by=who.by, to=office.party(name), facts=who.facts(office, reason=text)
    )
    about = About(
        Verb.ALTER,
        "partners",
        recipients=(name,),
        document=sha256(encode_jcs(asked.fields)).digest(),
        subject=f"request {asked.number} rejected",
        reason=text,
    )
    office.enter_refusal(decision, about, REJECTED)
    # Nobody waits any more if it was taken in while this person made up their mind.
    if waiting_request(home, name).number == asked.number:
        Invitations(home.root).answer(asked.number, {REJECTED: text, "at": now})
    return asked


def _check_could_approve(office: Office, name: str, who: Acting, *, act: str = "invite") -> None:
    """Refuse whoever could not take the partner in even with a second person."""
    anybody = frozenset({StaffRole.APPROVER, StaffRole.COMPLIANCE})
    facts = replace(who.facts(office), second=Person(bytes(PSEUDONYM_SIZE), office.own, anybody))
    decision = office.decide("approve_partner", by=who.by, to=office.party(name), facts=facts)
    if not decision.allowed:
        about = About(Verb.ALTER, "partners", recipients=(name,), subject=f"{act} {name}")
        office.enter_refusal(decision, about, "invitation")
        raise NotPermittedError(
            f"{act}: only who may take partners in may {act} them; name such an account with --as"
        )


def _readable(reason: str) -> str:
    text = reason.strip()
    if not 1 <= len(text) <= MAX_REASON or not text.isprintable():
        raise ConfigError(
            f"--reason: needs 1 to {MAX_REASON} characters in one line; say why, for the partner "
            "to read, and name no person"
        )
    return text
