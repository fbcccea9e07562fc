"""Records: readable for one identifier, epoch, contributor and slot, and in no other way."""

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.lookup.derivation import derive_record_key, derive_root, derive_tags
from protocols.lookup.payload import Category, Payload, Slot, SourceClass, Status, Use
from protocols.lookup.record import RECORD_SIZE, open_record, seal_record

EPOCH, NUMBER = 9, 3
ROOT = derive_root(EPOCH, bytes(64))
NONCE = bytes(range(12))


def report(status=Status.REPORTED, slot=Slot.SUSPECT, contributor=NUMBER):
    use = Use.CARE if slot is Slot.VICTIM else Use.COUNTER
    return Payload(
        Category.ROMANCE,
        SourceClass.POLICE,
        status,
        use,
        slot,
        contributor,
        300,
        310,
        340,
        b"r" * 12,
    )


RECORD = seal_record(ROOT, EPOCH, report(), NONCE)


@pytest.mark.parametrize("slot", Slot)
def test_record_opens_for_its_asker(slot):
    record = seal_record(ROOT, EPOCH, report(slot=slot), os.urandom(12))
    assert len(record) == RECORD_SIZE == 76
    assert open_record(ROOT, EPOCH, NUMBER, slot, record) == report(slot=slot)


def test_record_is_what_the_specification_says():
    tag = derive_tags(ROOT, NUMBER)[0]
    context = b"lianfang/lookup/record/v1" + EPOCH.to_bytes(8, "big") + tag
    cipher = ChaCha20Poly1305(derive_record_key(ROOT, NUMBER, Slot.SUSPECT))
    assert tag + NONCE + cipher.encrypt(NONCE, report().encode(), context) == RECORD


def test_versions_of_a_payload_share_no_ciphertext():
    records = [seal_record(ROOT, EPOCH, report(), os.urandom(12)) for _ in range(100)]
    assert len({record[:16] for record in records}) == 1
    # No aligned piece of eight bytes occurs twice, in whatever two versions.
    pieces = [record[at : at + 8] for record in records for at in range(28, 76, 8)]
    assert len(set(pieces)) == len(pieces)
    assert {open_record(ROOT, EPOCH, NUMBER, Slot.SUSPECT, r) for r in records} == {report()}


def test_new_status_hides_what_changed():
    first = seal_record(ROOT, EPOCH, report(), os.urandom(12))
    second = seal_record(ROOT, EPOCH, report(Status.WITHDRAWN), os.urandom(12))
    between = bytes(a ^ b for a, b in zip(first[28:60], second[28:60], strict=True))
    plain = bytes(
        a ^ b for a, b in zip(report().encode(), report(Status.WITHDRAWN).encode(), strict=True)
    )
    assert between != plain


def test_any_flipped_bit_is_refused():
    for position in range(RECORD_SIZE):
        for bit in range(8):
            forged = bytearray(RECORD)
            forged[position] ^= 1 << bit
            with pytest.raises(InvalidProofError):
                open_record(ROOT, EPOCH, NUMBER, Slot.SUSPECT, bytes(forged))


def test_record_of_another_context_is_refused():
    other = derive_root(EPOCH, b"\x01" * 64)
    for root, epoch, number, slot in (
        (other, EPOCH, NUMBER, Slot.SUSPECT),
        (derive_root(EPOCH + 1, bytes(64)), EPOCH + 1, NUMBER, Slot.SUSPECT),
        (ROOT, EPOCH + 1, NUMBER, Slot.SUSPECT),
        (ROOT, EPOCH, NUMBER + 1, Slot.SUSPECT),
        (ROOT, EPOCH, NUMBER, Slot.VICTIM),
    ):
        with pytest.raises(InvalidProofError):
            open_record(root, epoch, number, slot, RECORD)


@pytest.mark.parametrize(
    "payload", [report(contributor=NUMBER + 1), report(slot=Slot.VICTIM)], ids=["number", "slot"]
)
def test_payload_under_a_wrong_label_is_refused(payload):
    # Sealed by hand with the right keys, as only a contributor that lies could do it.
    tag = derive_tags(ROOT, NUMBER)[Slot.SUSPECT]
    context = b"lianfang/lookup/record/v1" + EPOCH.to_bytes(8, "big") + tag
    cipher = ChaCha20Poly1305(derive_record_key(ROOT, NUMBER, Slot.SUSPECT))
    record = tag + NONCE + cipher.encrypt(NONCE, payload.encode(), context)
    with pytest.raises(InvalidProofError, match="another contributor or slot"):
        open_record(ROOT, EPOCH, NUMBER, Slot.SUSPECT, record)


def test_record_under_a_wrong_tag_is_refused():
    # The right key and a tag of another identifier: it would stand in the table for both.
    tag = derive_tags(derive_root(EPOCH, b"\x01" * 64), NUMBER)[Slot.SUSPECT]
    context = b"lianfang/lookup/record/v1" + EPOCH.to_bytes(8, "big") + tag
    cipher = ChaCha20Poly1305(derive_record_key(ROOT, NUMBER, Slot.SUSPECT))
    record = tag + NONCE + cipher.encrypt(NONCE, report().encode(), context)
    with pytest.raises(InvalidProofError, match="tag"):
        open_record(ROOT, EPOCH, NUMBER, Slot.SUSPECT, record)


def test_cut_or_longer_record_is_refused():
    for size in [*range(RECORD_SIZE), RECORD_SIZE + 1]:
        with pytest.raises(MalformedMessageError):
            open_record(ROOT, EPOCH, NUMBER, Slot.SUSPECT, (RECORD + b"\0")[:size])


@given(st.binary(max_size=100))
def test_any_bytes_are_refused_cleanly(data):
    with pytest.raises((MalformedMessageError, InvalidProofError)):
        open_record(ROOT, EPOCH, NUMBER, Slot.SUSPECT, data)


@pytest.mark.parametrize("size", [0, 11, 13, 24])
def test_nonce_of_another_size_is_refused(size):
    with pytest.raises(UnsupportedParameterError, match="nonce"):
        seal_record(ROOT, EPOCH, report(), bytes(size))
