"""Seal a payload for one identifier, so that only who may ask for it can read it.

    record = tag (16) || nonce (12) || ChaCha20-Poly1305(payload) (32 + 16)

The key belongs to one identifier, epoch, contributor and slot. It does not change when the
payload does, so every version takes a fresh random nonce: with the old nonce the two
ciphertexts would give away the difference of the payloads, and the key of the tag.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.lookup.derivation import TAG_SIZE, derive_record_key, derive_tags
from protocols.lookup.payload import PAYLOAD_SIZE, Payload, Slot

NONCE_SIZE = 12
RECORD_SIZE = TAG_SIZE + NONCE_SIZE + PAYLOAD_SIZE + 16

_DOMAIN = b"lianfang/lookup/record/v1"


def seal_record(root: bytes, epoch: int, payload: Payload, nonce: bytes) -> bytes:
    """Encrypt a payload under the keys of its contributor and slot.

    Args:
        nonce: 12 random bytes, drawn for this version of the record and never used again.

    Raises:
        UnsupportedParameterError: a senseless payload, or a nonce of another size.
    Privacy:
        Without the root a record is random bytes. With it, and only so, it can be read:
        every holder that took part in the evaluation has logged and charged it before.
    Source:
        RFC 8439, section 2.8.
    """
    if len(nonce) != NONCE_SIZE:
        raise UnsupportedParameterError(f"nonce: {len(nonce)} bytes, expected {NONCE_SIZE}")
    tag = derive_tags(root, payload.contributor)[payload.slot]
    cipher = ChaCha20Poly1305(derive_record_key(root, payload.contributor, payload.slot))
    return tag + nonce + cipher.encrypt(nonce, payload.encode(), _context(epoch, tag))


def open_record(root: bytes, epoch: int, contributor: int, slot: Slot, record: bytes) -> Payload:
    """Decrypt the record that a contributor has for this identifier in a slot.

    Raises:
        MalformedMessageError: not 76 bytes, or it holds no payload.
        InvalidProofError: altered, or made for another identifier, epoch, contributor or slot.
    """
    if len(record) != RECORD_SIZE:
        raise MalformedMessageError(f"record: {len(record)} bytes, expected {RECORD_SIZE}")
    tag, nonce, sealed = record[:TAG_SIZE], record[TAG_SIZE:][:NONCE_SIZE], record[-48:]
    if tag != derive_tags(root, contributor)[slot]:
        raise InvalidProofError("record: the tag is not that of this identifier and contributor")
    cipher = ChaCha20Poly1305(derive_record_key(root, contributor, slot))
    try:
        payload = Payload.decode(cipher.decrypt(nonce, sealed, _context(epoch, tag)))
    except InvalidTag as error:
        raise InvalidProofError("record: altered, or sealed for another epoch") from error
    # Whoever knows the root can seal anything: the label inside must agree with the table.
    if (payload.contributor, payload.slot) != (contributor, slot):
        raise InvalidProofError("record: the payload names another contributor or slot")
    return payload


def _context(epoch: int, tag: bytes) -> bytes:
    return _DOMAIN + epoch.to_bytes(8, "big") + tag
