import hashlib
from itertools import permutations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidProofError, MalformedMessageError, OutOfTurnError
from protocols.seal import Pair, announce, derive_pair, verify_announcement

PLAN = hashlib.sha256(b"plan").digest()
# RFC 7748, section 6.1: the key pairs of Alice and Bob and their shared secret.
ALICE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")


def public(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def pair(ours="insurer", theirs="telecom", keys=(ALICE, BOB), **change) -> Pair:
    values = {"run": "run-1", "plan_hash": PLAN, "phase": "train", "attempt": 1} | change
    private = X25519PrivateKey.from_private_bytes(keys[0])
    return derive_pair(private, public(keys[1]), ours=ours, theirs=theirs, **values)


def other_end(**change) -> Pair:
    return pair("telecom", "insurer", (BOB, ALICE), **change)


def test_key_agreement_gives_the_published_secret():
    assert public(ALICE).hex().startswith("8520f0098930a754748b7ddcb43ef75a")
    shared = X25519PrivateKey.from_private_bytes(ALICE).exchange(
        X25519PrivateKey.from_private_bytes(BOB).public_key()
    )
    assert shared.hex() == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"


def test_both_directions_reach_the_other_party():
    insurer, telecom = pair(), other_end()
    for payload in (b"", b"a", bytes(100_000)):
        assert telecom.opener.open(insurer.sealer.seal(payload)) == payload
        assert insurer.opener.open(telecom.sealer.seal(payload)) == payload


def test_frame_is_what_the_specifications_say():
    # Built from the primitives alone, so that a change of the derivation is noticed.
    def fields(*parts):
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

    label = fields(b"run-1", b"train", (1).to_bytes(8, "big"))
    info = fields(
        b"lianfang seal pair v1", label, b"insurer", b"telecom", public(ALICE), public(BOB)
    )
    secret = X25519PrivateKey.from_private_bytes(ALICE).exchange(
        X25519PrivateKey.from_private_bytes(BOB).public_key()
    )
    keys = HKDF(SHA256(), 64, salt=PLAN, info=info).derive(secret)
    header = b"\x01" + bytes(8)
    data = fields(b"lianfang seal frame v1", label, b"insurer", b"telecom") + header
    expected = header + ChaCha20Poly1305(keys[:32]).encrypt(bytes(12), b"payload", data)
    assert pair().sealer.seal(b"payload") == expected


def test_replayed_frame_is_refused():
    insurer, telecom = pair(), other_end()
    first = insurer.sealer.seal(b"one")
    telecom.opener.open(first)
    with pytest.raises(OutOfTurnError):
        telecom.opener.open(first)


def test_only_the_sent_order_opens():
    for order in permutations(range(3)):
        insurer, telecom = pair(), other_end()
        frames = [insurer.sealer.seal(bytes([i])) for i in range(3)]
        if order == (0, 1, 2):
            assert [telecom.opener.open(frames[i]) for i in order] == [b"\0", b"\1", b"\2"]
            continue
        with pytest.raises(OutOfTurnError):
            [telecom.opener.open(frames[i]) for i in order]


def test_gap_is_refused_and_state_kept():
    insurer, telecom = pair(), other_end()
    lost, second = insurer.sealer.seal(b"one"), insurer.sealer.seal(b"two")
    with pytest.raises(OutOfTurnError):
        telecom.opener.open(second)
    assert telecom.opener.open(lost) == b"one"
    assert telecom.opener.open(second) == b"two"


def test_any_flipped_bit_is_refused():
    frame = pair().sealer.seal(b"payload")
    for position in range(len(frame)):
        for bit in range(8):
            forged = bytearray(frame)
            forged[position] ^= 1 << bit
            error = MalformedMessageError if position == 0 else InvalidProofError
            with pytest.raises(error):
                other_end().opener.open(bytes(forged))


def test_truncated_or_longer_frame_is_refused():
    frame = pair().sealer.seal(b"payload")
    for size in range(len(frame)):
        with pytest.raises((MalformedMessageError, InvalidProofError)):
            other_end().opener.open(frame[:size])
    with pytest.raises(InvalidProofError):
        other_end().opener.open(frame + b"\0")


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_cleanly(data):
    with pytest.raises((MalformedMessageError, InvalidProofError)):
        other_end().opener.open(data)


@pytest.mark.parametrize(
    "change",
    [
        {"run": "run-2"},
        {"plan_hash": hashlib.sha256(b"other plan").digest()},
        {"phase": "score"},
        {"attempt": 2},
    ],
)
def test_frame_of_another_context_is_refused(change):
    frame = pair(**change).sealer.seal(b"payload")
    with pytest.raises(InvalidProofError):
        other_end().opener.open(frame)


def test_phase_is_bound_even_under_equal_keys():
    first, second = pair(), other_end(phase="score")
    second.opener._cipher = other_end().opener._cipher
    with pytest.raises(InvalidProofError):
        second.opener.open(first.sealer.seal(b"payload"))


def test_own_frame_does_not_come_back():
    insurer = pair()
    with pytest.raises(InvalidProofError):
        insurer.opener.open(insurer.sealer.seal(b"payload"))


def test_third_party_cannot_open():
    police = bytes(range(32))
    with pytest.raises(InvalidProofError):
        pair("telecom", "insurer", (police, ALICE)).opener.open(pair().sealer.seal(b"payload"))


def test_no_two_contexts_share_a_key():
    changes = [{}, {"run": "run-2"}, {"phase": "score"}, {"attempt": 2}]
    ends = [end(**change) for change in changes for end in (pair, other_end)]
    sealed = {end.sealer._cipher.encrypt(bytes(12), bytes(32), None) for end in ends}
    assert len(sealed) == len(ends)


# RFC 7748, section 7 and the list of low-order points by Bernstein (curve25519 "small
# order" points): the shared secret with each of these is all zero, whatever our key is.
@pytest.mark.parametrize(
    "point",
    [
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ],
)
def test_low_order_point_is_refused(point):
    private = X25519PrivateKey.from_private_bytes(ALICE)
    with pytest.raises(InvalidProofError):
        derive_pair(
            private,
            bytes.fromhex(point),
            run="run-1",
            plan_hash=PLAN,
            ours="insurer",
            theirs="telecom",
            phase="train",
            attempt=1,
        )


@pytest.mark.parametrize("size", [0, 31, 33])
def test_public_key_of_wrong_size_is_refused(size):
    private = X25519PrivateKey.from_private_bytes(ALICE)
    with pytest.raises(MalformedMessageError):
        derive_pair(
            private,
            bytes(size),
            run="r",
            plan_hash=PLAN,
            ours="a",
            theirs="b",
            phase="p",
            attempt=1,
        )


def test_announcement_gives_the_key():
    identity = Ed25519PrivateKey.generate()
    announcement = announce(identity, "run-1", PLAN, "telecom", public(BOB))
    found = verify_announcement(identity.public_key(), "run-1", PLAN, "telecom", announcement)
    assert found == public(BOB)


@pytest.mark.parametrize(
    ("run", "plan", "party"),
    [
        ("run-2", PLAN, "telecom"),
        ("run-1", hashlib.sha256(b"other").digest(), "telecom"),
        ("run-1", PLAN, "police"),
        ("run-", PLAN, "1telecom"),
    ],
)
def test_announcement_for_something_else_is_refused(run, plan, party):
    identity = Ed25519PrivateKey.generate()
    announcement = announce(identity, "run-1", PLAN, "telecom", public(BOB))
    with pytest.raises(InvalidProofError):
        verify_announcement(identity.public_key(), run, plan, party, announcement)


def test_announcement_of_another_identity_is_refused():
    announcement = announce(Ed25519PrivateKey.generate(), "run-1", PLAN, "telecom", public(BOB))
    stranger = Ed25519PrivateKey.generate().public_key()
    with pytest.raises(InvalidProofError):
        verify_announcement(stranger, "run-1", PLAN, "telecom", announcement)


def test_swapped_key_in_announcement_is_refused():
    identity = Ed25519PrivateKey.generate()
    announcement = announce(identity, "run-1", PLAN, "telecom", public(BOB))
    with pytest.raises(InvalidProofError):
        verify_announcement(
            identity.public_key(), "run-1", PLAN, "telecom", public(ALICE) + announcement[32:]
        )


@given(st.binary(max_size=120))
def test_any_announcement_bytes_are_refused_cleanly(data):
    identity = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    with pytest.raises((MalformedMessageError, InvalidProofError)):
        verify_announcement(identity, "run-1", PLAN, "telecom", data)


def test_keys_do_not_print():
    insurer = pair()
    assert "Sealer" not in repr(insurer)
    assert "key" not in repr(insurer.sealer).lower()
