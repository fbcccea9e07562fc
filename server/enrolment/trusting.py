"""Trusting a partner's own authority, and ending that: acts of two people, entered before."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from compliance.configuration import ConfigError
from compliance.office.about import About
from compliance.office.office import Office
from compliance.staff.acting import Acting
from compliance.staff.consents import MAX_WHAT
from protocols.tlog.entry import Verb
from server.home import HubHome
from server.identity.authority import load_authority
from server.identity.issued import is_revoked
from server.identity.trusted import Trust, TrustedAuthorities, parse_trust

MATTER = "partners/authority"


def trust(
    home: HubHome,
    office: Office,
    partner: str,
    data: bytes,
    who: Acting,
    *,
    now: int,
    subject: str = "",
    reason: str = "",
) -> Trust:
    """Trust an authority for one partner, once two people decided it and it is entered.

    Args:
        data: its certificates (PEM).
        subject: of the node's certificate, where no SPIFFE URI names it.

    Raises:
        ConfigError: it could stand for more than this partner, or does not hold together.
        NotPermittedError: the policies do not permit it; that is entered.
    """
    found = parse_trust(partner, data, subject)
    trusted = TrustedAuthorities(home.root, home.settings().name)
    trusted.check(found, load_authority(home.authority).certificate, now)
    kept = home.known().get(partner)
    if kept is not None and is_revoked(kept):
        raise ConfigError(f"{partner}: was revoked, and nothing can be trusted for it any more")
    whole = b"".join(item.public_bytes(Encoding.DER) for item in found.certificates)
    digest = sha256(whole + subject.encode()).digest()
    print_ = found.certificates[0].fingerprint(SHA256()).hex()
    who.perform(
        office,
        "approve_partner",
        _about(partner, digest, f"authority {digest.hex()} of a partner trusted", reason),
        what=f"trust the authority with SHA-256 {print_} for {partner}"[:MAX_WHAT],
        to=office.party(partner),
    )
    trusted.keep(found, now)
    return found


def distrust(home: HubHome, office: Office, partner: str, who: Acting, *, reason: str = "") -> None:
    """Trust the authority of a partner no more, once two people decided it and it is entered.

    Raises:
        ConfigError: it has none here.
        NotPermittedError: the policies do not permit it; that is entered.
    """
    trusted = TrustedAuthorities(home.root, home.settings().name)
    found = next((item for item in trusted.all() if item.partner == partner), None)
    if found is None:
        raise ConfigError(f"{partner[:32]}: has no authority of its own here; nothing to remove")
    whole = b"".join(item.public_bytes(Encoding.DER) for item in found.certificates)
    digest = sha256(whole + found.subject.encode()).digest()
    who.perform(
        office,
        "remove_partner",
        _about(partner, digest, f"authority {digest.hex()} of a partner removed", reason),
        what=f"trust the authority of {partner} no more"[:MAX_WHAT],
        to=office.party(partner),
    )
    trusted.remove(partner)


def _about(partner: str, digest: bytes, subject: str, reason: str) -> About:
    return About(
        Verb.ALTER,
        MATTER,
        recipients=(partner,),
        count=1,
        document=digest,
        subject=subject,
        reason=reason,
    )
