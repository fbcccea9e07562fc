"""Signatures of the parties: all of them, or the document is a draft that permits nothing.

A party signs with its Ed25519 identity key over the canonical form, under a domain of its
own (`protocols.lookup.signing`), so that the signature serves nothing else. Whose key is
whose is never taken from the document: a verifier compares it with the keys that it pinned
by other means, or anyone could write an agreement between parties of its own making.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from compliance.agreement.document import Agreement
from compliance.agreement.fields import Fields
from compliance.agreement.terms import Party
from compliance.errors import NotPermittedError
from protocols.codec import parse_json
from protocols.errors import InvalidProofError
from protocols.lookup.signing import SIGNATURE_SIZE, check_name, sign, verify

_DOMAIN = b"lianfang/agreement/v1"
_WHERE = "signed agreement"


@dataclass(frozen=True, slots=True)
class SignedAgreement:
    """An agreement with the signatures that it has so far, by party."""

    agreement: Agreement
    signatures: Mapping[str, bytes] = field(repr=False)

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the parties that have not signed; while there is one, it is a draft."""
        return tuple(name for name in self.agreement.names if name not in self.signatures)

    @property
    def is_draft(self) -> bool:
        """Whether a party has yet to sign."""
        return bool(self.missing)

    def with_signatures(self, others: Mapping[str, bytes]) -> SignedAgreement:
        """Return it with further signatures; those that are there stay."""
        return SignedAgreement(self.agreement, {**others, **self.signatures})

    def format(self) -> bytes:
        """Write it as one JSON file that people can read, signatures at the end."""
        value = {
            "agreement": self.agreement.format(),
            "signatures": {name: self.signatures[name].hex() for name in sorted(self.signatures)},
        }
        return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> SignedAgreement:
        """Read what `format` wrote, or an agreement without signatures.

        Raises:
            MalformedMessageError: names field, rule and cure.
        """
        value = parse_json(data, _WHERE)
        if isinstance(value, dict) and "format" in value:
            return cls(Agreement.parse(value), {})
        fields = Fields.of(value, {"agreement", "signatures"}, _WHERE)
        signatures = fields.mapping("signatures")
        for name in signatures:
            check_name(name, f"{_WHERE}: a signer's name")
        holder = Fields(signatures, f"{_WHERE}.signatures")
        return cls(
            Agreement.parse(fields.values["agreement"]),
            {name: holder.digest(name, SIGNATURE_SIZE) for name in signatures},
        )


def sign_agreement(identity: Ed25519PrivateKey, agreement: Agreement, name: str) -> bytes:
    """Sign as one of the parties.

    Raises:
        NotPermittedError: no such party, or the document names another key for it.
    """
    party = agreement.party(name)
    if party is None:
        raise NotPermittedError(f"agreement: {name} is not a party and cannot sign")
    if party.identity != identity.public_key().public_bytes_raw():
        raise NotPermittedError(
            f"agreement: names another identity key for {name}; correct the draft before signing"
        )
    return sign(identity, _DOMAIN, agreement.encode())


def verify_agreement(
    signed: SignedAgreement, identities: Mapping[str, Ed25519PublicKey], *, draft: bool = False
) -> Agreement:
    """Return the agreement if its signatures hold and, unless it may be a draft, all are there.

    Args:
        identities: pinned keys by name, our own among them.
        draft: whether signatures may be missing; those that are there must hold all the same.

    Raises:
        InvalidProofError: a signature is missing, of someone else, or wrong, or a party has
            another key than the one pinned, or none is pinned.
    """
    agreement = signed.agreement
    if foreign := sorted(set(signed.signatures) - set(agreement.names)):
        raise InvalidProofError(f"agreement: signed by {foreign[0]}, which is not a party")
    body = agreement.encode()
    for party in agreement.parties:
        if party.name in signed.signatures:
            _verify_party(party, body, signed.signatures[party.name], identities)
        elif not draft:
            raise InvalidProofError(f"agreement: the signature of {party.name} is missing")
    return agreement


def verified_signers(
    signed: SignedAgreement, identities: Mapping[str, Ed25519PublicKey]
) -> tuple[str, ...]:
    """Return the parties whose signature holds under the key that is pinned for them."""
    body = signed.agreement.encode()
    found = []
    for party in signed.agreement.parties:
        signature = signed.signatures.get(party.name)
        if signature is None:
            continue
        with suppress(InvalidProofError):
            _verify_party(party, body, signature, identities)
            found.append(party.name)
    return tuple(found)


def _verify_party(
    party: Party, body: bytes, signature: bytes, identities: Mapping[str, Ed25519PublicKey]
) -> None:
    public = identities.get(party.name)
    if public is None:
        raise InvalidProofError(
            f"agreement: no identity key of {party.name} is pinned; "
            "pin it with `lianfang node trust` first"
        )
    if public.public_bytes_raw() != party.identity:
        raise InvalidProofError(f"agreement: names another key for {party.name} than is pinned")
    verify(public, _DOMAIN, body, signature, f"agreement, signature of {party.name}")
