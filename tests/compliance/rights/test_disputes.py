"""A dispute from the insurer's counter to the police and back, in letters for them alone."""

import ctypes
import os

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from compliance.errors import NotPermittedError
from compliance.rights.disputes import Notice, Reply, Ruling
from compliance.rights.envelope import (
    exchange_private,
    exchange_public,
    open_letter,
    seal_letter,
)
from compliance.rights.errors import UnknownCaseError
from compliance.rights.kinds import Answer, Kind, State
from protocols.errors import InvalidProofError, MalformedMessageError, OutOfTurnError
from protocols.group.library import load_sodium_library


@pytest.fixture
def police(places):
    return places("police")


@pytest.fixture
def letter(keys):
    """Seal a body from one organisation to another."""

    def make(body, sender="insurer", recipient="police"):
        return seal_letter(
            body, sender=sender, identity=keys[sender], recipient=recipient,
            theirs=keys[recipient].public_key(), random=os.urandom,
        )  # fmt: skip

    return make


@pytest.fixture
def read(keys, public):
    """Open a letter as an organisation."""

    def make(data, recipient="police", identities=None):
        return open_letter(
            data,
            recipient=recipient,
            identity=keys[recipient],
            identities=public if identities is None else identities,
        )

    return make


@pytest.fixture
def forwarded(insurer, police, letter, read):
    """A dispute of the insurer's that the police have taken in."""
    number = insurer.take(Kind.DISPUTE)
    notice = insurer.disputes.forward(number, "police", insurer.who())
    sender, body = read(letter(notice.encode()))
    case = police.disputes.take_in(Notice.decode(body), sender, "tw", police.who())
    return number, case.number


def working(place, number):
    place.rights.verify_identity(number, place.who(reason="the insurer saw the passport"))
    place.rights.take_up(number, place.who())
    return number


@pytest.mark.parametrize(
    ("ruling", "code", "answer"),
    [
        (Ruling.WITHDRAWN, "", Answer.GRANTED),
        (Ruling.CORRECTED, "", Answer.GRANTED),
        (Ruling.UPHELD, "data_is_right", Answer.REFUSED),
    ],
)
def test_dispute_goes_to_the_contributor_and_its_ruling_comes_back(
    insurer, police, forwarded, letter, read, *, ruling, code, answer
):
    ours, theirs = forwarded
    working(police, theirs)
    changed = []
    _, reply = police.disputes.settle(
        theirs, ruling, code, police.who(), change=lambda texts: changed.append(texts) or 1
    )
    assert changed[0].wish == "take me off the list"
    assert changed[0].contact == ""  # the contributor needs no address of the person
    sender, body = read(letter(reply.encode(), "police", "insurer"), "insurer")
    case = insurer.disputes.note_reply(Reply.decode(body), sender, insurer.who())
    assert (case.number, case.state, case.answer, case.code) == (
        ours, State.ANSWERED, answer, code,
    )  # fmt: skip
    assert insurer.disputes.dealing(ours)[2] == ruling
    assert police.file.case(theirs).answer is answer


def test_ruling_is_entered_before_the_register_changes(police, forwarded):
    _, theirs = forwarded
    working(police, theirs)
    seen = []
    police.disputes.settle(
        theirs, Ruling.WITHDRAWN, "", police.who(),
        change=lambda _texts: seen.append(police.entries()[-1].act) or 1,
    )  # fmt: skip
    assert seen == ["settle_dispute"]


def test_crash_after_the_register_changed_leaves_the_dispute_to_be_settled_again(
    police, forwarded, killed
):
    _, theirs = forwarded
    working(police, theirs)

    def die(_texts):
        raise killed

    with pytest.raises(killed):
        police.disputes.settle(theirs, Ruling.WITHDRAWN, "", police.who(), change=die)
    assert police.file.case(theirs).state is State.IN_WORK
    case, _ = police.disputes.settle(
        theirs, Ruling.WITHDRAWN, "", police.who(), change=lambda _texts: 0
    )
    assert case.answer is Answer.GRANTED


def test_forwarding_names_the_contributor_in_the_entry(insurer, forwarded):
    entry = insurer.entries()[-1]
    assert (entry.verb.value, entry.recipients) == ("disclose", ("police",))
    assert entry.purpose.endswith("DisputeManagement")


def test_same_notice_again_opens_no_second_dispute(insurer, police, forwarded):
    ours, theirs = forwarded
    notice = insurer.disputes.forward(ours, "police", insurer.who())
    again = police.disputes.take_in(notice, "insurer", "tw", police.who())
    assert again.number == theirs
    assert len(police.file.cases()) == 1
    other = police.disputes.take_in(notice, "telecom", "tw", police.who())
    assert other.number != theirs


def test_dispute_goes_to_one_contributor_only(insurer, police, forwarded):
    ours, theirs = forwarded
    with pytest.raises(OutOfTurnError):
        insurer.disputes.forward(ours, "telecom", insurer.who())
    working(police, theirs)
    with pytest.raises(OutOfTurnError):
        police.disputes.forward(theirs, "insurer", police.who())


def test_reply_of_somebody_else_settles_nothing(insurer, forwarded):
    ours, _ = forwarded
    reply = Reply(ours, Ruling.WITHDRAWN, "", 1)
    with pytest.raises(UnknownCaseError):
        insurer.disputes.note_reply(reply, "telecom", insurer.who())
    assert insurer.file.case(ours).state is State.IN_WORK


def test_settling_needs_an_officer_and_a_reason(police, forwarded):
    _, theirs = forwarded
    working(police, theirs)
    for who in (police.who("analyst"), police.who(reason="")):
        with pytest.raises(NotPermittedError):
            police.disputes.settle(theirs, Ruling.WITHDRAWN, "", who, change=lambda _texts: 1)


def test_ground_of_another_jurisdiction_becomes_ours(insurer, forwarded):
    ours, _ = forwarded
    reply = Reply(ours, Ruling.UPHELD, "something_theirs", 1)
    case = insurer.disputes.note_reply(reply, "police", insurer.who())
    assert case.code == "data_is_right"


def test_letter_says_nothing_to_the_carrier(insurer, letter, numbers, sealed_phone):
    number = insurer.take(Kind.DISPUTE)
    notice = insurer.disputes.forward(number, "police", insurer.who()).encode()
    data = letter(notice)
    assert sealed_phone.hex().encode() in notice
    for trace in (b"insurer", b"police", b"912345678", sealed_phone.hex().encode(), b"list"):
        assert trace not in data
    # The length says how many KiB, not how much.
    assert len(letter(b"x")) == len(letter(b"x" * 500))


def test_letter_is_for_its_recipient_alone(letter, read):
    data = letter(b"body")
    assert read(data) == ("insurer", b"body")
    for other in ("telecom", "hub"):
        with pytest.raises(InvalidProofError, match="not sealed to"):
            read(data, other)


def test_every_altered_byte_of_a_letter_is_noticed(letter, read):
    data = letter(b"body")
    for at in range(0, len(data), 11):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises((InvalidProofError, MalformedMessageError)):
            read(changed)


def test_sender_must_be_pinned_and_have_signed(keys, public, letter, read):
    data = letter(b"body")
    with pytest.raises(InvalidProofError, match="pinned"):
        read(data, identities={"police": public["police"]})
    with pytest.raises(InvalidProofError, match="signature"):
        read(data, identities={"insurer": public["telecom"]})
    forged = seal_letter(
        b"body", sender="insurer", identity=keys["telecom"], recipient="police",
        theirs=public["police"], random=os.urandom,
    )  # fmt: skip
    with pytest.raises(InvalidProofError, match="signature"):
        read(forged)


@given(st.binary(max_size=200))
def test_any_bytes_are_no_letter(data):
    key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    with pytest.raises((InvalidProofError, MalformedMessageError)):
        open_letter(b"lianfang-letter-1\n" + data, recipient="police", identity=key, identities={})


@given(st.binary(max_size=200))
def test_any_bytes_are_no_notice_and_no_reply(data):
    for kind in (Notice, Reply):
        with pytest.raises(MalformedMessageError):
            kind.decode(data)


def test_notice_with_an_identifier_that_is_not_canonical_is_refused(insurer):
    number = insurer.take(Kind.DISPUTE)
    good = insurer.disputes.forward(number, "police", insurer.who()).encode()
    assert Notice.decode(good).number == number
    assert Notice.decode(good).encode() == good
    for before, after in [(b'"phone"', b'"email"'), (b'["phone"', b'["nothing"')]:
        with pytest.raises(MalformedMessageError, match="identifiers"):
            Notice.decode(good.replace(before, after))


@given(st.binary(min_size=32, max_size=32))
def test_exchange_keys_are_those_of_libsodium(seed):
    library = load_sodium_library()
    identity = Ed25519PrivateKey.from_private_bytes(seed)
    public = identity.public_key()
    theirs = ctypes.create_string_buffer(32)
    assert not library.crypto_sign_ed25519_pk_to_curve25519(theirs, public.public_bytes_raw())
    ours = exchange_public(public).public_bytes_raw()
    assert ours == theirs.raw
    assert exchange_private(identity).public_key().public_bytes_raw() == ours
