"""All parties sign, or it is a draft; and nobody signs for another."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.revocation import Revocation, revoke, verify_revocation
from compliance.agreement.signing import SignedAgreement, sign_agreement, verify_agreement
from compliance.errors import NotPermittedError
from protocols.errors import InvalidProofError, MalformedMessageError


def test_signed_by_all_it_holds(world):
    signed = world.signed()
    assert not signed.is_draft
    assert verify_agreement(signed, world.pinned) == world.agreement


@pytest.mark.parametrize("missing", ["hub", "insurer", "police", "telecom"])
def test_without_any_one_signature_it_is_a_draft(world, missing):
    signed = world.signed(by=[name for name in world.agreement.names if name != missing])
    assert signed.missing == (missing,)
    with pytest.raises(InvalidProofError, match=f"signature of {missing} is missing"):
        verify_agreement(signed, world.pinned)
    assert verify_agreement(signed, world.pinned, draft=True) == world.agreement


def test_a_signature_over_another_version_does_not_hold(world):
    other = replace(world.agreement, not_after=world.agreement.not_after + 1)
    mixed = SignedAgreement(other, world.signed().signatures)
    with pytest.raises(InvalidProofError, match="does not hold"):
        verify_agreement(mixed, world.pinned, draft=True)


def test_keys_of_the_document_are_not_believed(world):
    own = {name: Ed25519PrivateKey.generate() for name in world.keys}
    parties = tuple(
        replace(party, identity=own[party.name].public_key().public_bytes_raw())
        for party in world.agreement.parties
    )
    forged = replace(world.agreement, parties=parties)
    signed = SignedAgreement(
        forged, {name: sign_agreement(key, forged, name) for name, key in own.items()}
    )
    with pytest.raises(InvalidProofError, match="another key"):
        verify_agreement(signed, world.pinned)
    with pytest.raises(InvalidProofError, match="pin it"):
        verify_agreement(signed, {})


def test_strangers_do_not_sign(world):
    signed = world.signed()
    extra = SignedAgreement(world.agreement, {**signed.signatures, "bank": bytes(64)})
    with pytest.raises(InvalidProofError, match="bank"):
        verify_agreement(extra, world.pinned)
    with pytest.raises(NotPermittedError, match="not a party"):
        sign_agreement(world.keys["hub"], world.agreement, "bank")
    with pytest.raises(NotPermittedError, match="another identity key"):
        sign_agreement(world.keys["hub"], world.agreement, "insurer")


def test_the_file_keeps_document_and_signatures(world):
    signed = world.signed(by=["insurer"])
    again = SignedAgreement.parse(signed.format())
    assert (again.agreement, again.signatures) == (signed.agreement, signed.signatures)
    assert again.agreement.digest == world.agreement.digest
    bare = SignedAgreement.parse(world.agreement.encode())
    assert bare.is_draft
    with pytest.raises(MalformedMessageError):
        SignedAgreement.parse(b'{"agreement": {}, "signatures": []}')


def test_any_party_revokes_and_nobody_else(world):
    word = revoke(world.keys["telecom"], world.agreement, "telecom", reason="breach", now=9)
    verify_revocation(Revocation.decode(word.encode()), world.agreement)
    with pytest.raises(NotPermittedError):
        revoke(world.keys["telecom"], world.agreement, "insurer", reason="x", now=9)
    with pytest.raises(InvalidProofError):
        verify_revocation(replace(word, party="insurer"), world.agreement)
    with pytest.raises(InvalidProofError):
        verify_revocation(replace(word, at=8), world.agreement)
    with pytest.raises(NotPermittedError):
        verify_revocation(word, world.after())
    with pytest.raises(MalformedMessageError, match="reason"):
        revoke(world.keys["telecom"], world.agreement, "telecom", reason="", now=9)
