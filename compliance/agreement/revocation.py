"""Revocation: any party ends an agreement alone, signed and dated, in force at once.

A revocation names the hash of one version. It cannot be taken back: who wants to go on
signs a new version. It says nothing about what was done before, which stays permitted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from compliance.agreement.document import Agreement
from compliance.agreement.fields import Fields, defect
from compliance.agreement.terms import NAME, NAME_RULE
from compliance.errors import NotPermittedError
from protocols.errors import MalformedMessageError
from protocols.jcs import decode_jcs, encode_jcs
from protocols.lookup.signing import SIGNATURE_SIZE, sign, verify

FORMAT = "lianfang/agreement/revocation/v1"
MAX_CLOCK_SKEW_S = 300
_DOMAIN = FORMAT.encode()
_WHERE = "revocation"


@dataclass(frozen=True, slots=True)
class Revocation:
    """One party's word that an agreement has ended.

    Args:
        at: Unix seconds; reason: for the other parties to read, without a word about a person.
    """

    agreement: bytes
    party: str
    at: int
    reason: str
    signature: bytes = field(repr=False)

    @property
    def signed_part(self) -> bytes:
        """What the signature covers: everything but itself."""
        return encode_jcs(self._fields())

    def applies(self, now: int) -> bool:
        """Report whether it has ended the agreement at `now`; clocks may differ a little."""
        return self.at <= now + MAX_CLOCK_SKEW_S

    def encode(self) -> bytes:
        """Write the canonical form."""
        return encode_jcs(self._fields() | {"signature": self.signature.hex()})

    @classmethod
    def decode(cls, data: bytes) -> Revocation:
        """Read a revocation; `verify_revocation` judges its signature.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        names = {"format", *cls.__dataclass_fields__}
        fields = Fields.of(decode_jcs(data, _WHERE), names, _WHERE)
        if fields.values["format"] != FORMAT:
            raise defect(fields.at("format"), f"must be {FORMAT}")
        found = cls(
            fields.digest("agreement"),
            fields.matched("party", NAME, NAME_RULE),
            fields.whole("at"),
            fields.text("reason"),
            fields.digest("signature", SIGNATURE_SIZE),
        )
        if found.encode() != data:
            raise MalformedMessageError(f"{_WHERE}: not in canonical form")
        return found

    def _fields(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "agreement": self.agreement.hex(),
            "party": self.party,
            "at": self.at,
            "reason": self.reason,
        }


def revoke(
    identity: Ed25519PrivateKey, agreement: Agreement, party: str, *, reason: str, now: int
) -> Revocation:
    """End an agreement as one of its parties.

    Raises:
        NotPermittedError: no such party, or the agreement names another key for it.
        MalformedMessageError: no reason, or one that is too long.
    """
    found = agreement.party(party)
    if found is None or found.identity != identity.public_key().public_bytes_raw():
        raise NotPermittedError(f"revocation: {party} with this key is not a party")
    reason = Fields({"reason": reason}, _WHERE).text("reason")
    unsigned = Revocation(agreement.digest, party, now, reason, bytes(SIGNATURE_SIZE))
    return replace(unsigned, signature=sign(identity, _DOMAIN, unsigned.signed_part))


def verify_revocation(revocation: Revocation, agreement: Agreement) -> None:
    """Check that a party of this very agreement revoked it.

    The key is that of the document, which all parties signed; a draft has nothing to revoke.

    Raises:
        InvalidProofError: another signature. NotPermittedError: no party, another agreement.
    """
    party = agreement.party(revocation.party)
    if party is None or revocation.agreement != agreement.digest:
        raise NotPermittedError(
            f"revocation: {revocation.party} is not a party of the agreement that it names"
        )
    public = Ed25519PublicKey.from_public_bytes(party.identity)
    subject = f"revocation by {revocation.party}"
    verify(public, _DOMAIN, revocation.signed_part, revocation.signature, subject)
