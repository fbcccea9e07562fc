"""Erasing a person: nothing is left, proofs hold, and repeating finishes after a crash."""

import json
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.errors import NotPermittedError
from compliance.log.errors import PartErasedError
from compliance.log.export import export_log
from compliance.log.verify import verify_export
from compliance.rights.certificate import verify_certificate
from compliance.rights.deadlines import months_after
from compliance.rights.errors import CaseErasedError, LegalHoldError, StoreWaitsError
from compliance.rights.kinds import Answer, Kind, State
from protocols.errors import InvalidProofError, MalformedMessageError, OutOfTurnError
from protocols.jcs import decode_jcs, encode_jcs
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.entry import Decision, Outcome, Verb
from protocols.tlog.note import Note
from protocols.tlog.policy import NONE, Log, Policy

DAY = 86_400


@pytest.fixture
def known(insurer, numbers, sealed_phone):
    """An insurer that looked a person up twice and another once, and has both on its shelf."""
    ours, others = numbers
    places = [
        insurer.looked_up(ours, recipients=("police",)),
        insurer.looked_up(ours),
        insurer.looked_up(others),
    ]
    other = insurer.texts(others).identifiers[0].canonical
    insurer.shelf.put(sealed_phone, other, sealed_phone)
    return places


def verify_log(place, tmp_path):
    """Verify the whole log of a place offline."""
    origin = place.office.yearly.origin()
    place.office.yearly.checkpoint()
    export_log(place.office.storage, origin, tmp_path / "export")
    key = place.office.yearly.log(origin)._signer.key
    return verify_export(tmp_path / "export", Policy((Log(key),), (), (), NONE))


def test_nothing_of_the_person_is_in_any_file_afterwards(insurer, known, sealed_phone):
    number = insurer.take(Kind.ERASURE)
    token = insurer.file.tokens(number)[0]
    everything = insurer.bytes()
    assert token.encode() in everything
    assert sealed_phone.hex().encode() in everything
    insurer.erase(number)
    insurer.rights.close(number, insurer.who())
    left = insurer.bytes()
    for trace in (token.encode(), sealed_phone, sealed_phone.hex().encode(), b"912345678"):
        assert trace not in left
    assert insurer.office.parts.find_subject(token) == []
    assert insurer.file.tokens(number) == []
    assert insurer.file.about([token]) == []
    with pytest.raises(CaseErasedError):
        insurer.file.texts(number)


def test_keys_of_what_was_erased_are_in_no_file(insurer, known, rows):
    number = insurer.take(Kind.ERASURE)
    ((key, sealed),) = rows(insurer, "SELECT key, sealed FROM requests")
    assert key in insurer.bytes()
    insurer.erase(number)
    insurer.rights.close(number, insurer.who())
    assert key not in insurer.bytes()
    assert sealed[:64] not in insurer.bytes()


def test_proofs_hold_and_others_stay(insurer, known, tmp_path, numbers):
    number = insurer.take(Kind.ERASURE)
    insurer.erase(number)
    insurer.rights.close(number, insurer.who())
    report = verify_log(insurer, tmp_path)
    assert report.is_whole, report.fault
    assert report.size == len(insurer.entries())
    entries = insurer.entries()
    for place in known[:2]:
        with pytest.raises(PartErasedError):
            insurer.office.parts.read(place, entries[place.index].commitment)
    kept = insurer.office.parts.read(known[2], entries[known[2].index].commitment)
    assert kept.case == "C-1"
    assert len(insurer.shelf.items()) == 1


def test_certificate_says_what_and_not_whom(insurer, known, public, sealed_phone):
    number = insurer.take(Kind.ERASURE)
    case, data = insurer.erase(number, told=["police"])
    found = verify_certificate(data, public)
    assert (case.state, case.answer) == (State.ANSWERED, Answer.GRANTED)
    assert case.certificate == found.serial
    assert insurer.certificates.load(found.serial) == data
    assert found.request == number
    counts = {item.store: item.count for item in found.erased}
    # Three steps of the request were entered about the person, and two lookups before.
    assert counts == {"test/shelf": 2, "log/private-parts": 5, "rights/requests": 0}
    assert (found.recipients, found.told) == (("police",), ("police",))
    assert found.kept_until == months_after(found.made_at, 60)
    for trace in (b"912345678", sealed_phone.hex().encode(), b"Example", b"subject/"):
        assert trace not in data


def test_certificate_names_the_entry_and_a_checkpoint_with_it(insurer, known, public):
    number = insurer.take(Kind.ERASURE)
    _, data = insurer.erase(number)
    found = verify_certificate(data, public)
    entries = insurer.entries()
    begun, recorded = entries[found.index], entries[-1]
    assert (begun.act, begun.verb, begun.subject_matter) == (
        "erase", Verb.ERASE, "rights/erasure",
    )  # fmt: skip
    assert recorded.document == sha256(data).digest()
    checkpoint = Checkpoint.parse(Note.decode(found.checkpoint.encode()).text)
    assert checkpoint.size > found.index


def test_altered_and_forged_certificates_are_refused(insurer, known, public, keys):
    _, data = insurer.erase(insurer.take(Kind.ERASURE))
    whole = decode_jcs(data, "test")
    for name, value in [
        ("made_at", 1), ("told", ["police"]), ("kept", "legal_hold"), ("request", "R-AAAAA-AAAAA"),
    ]:  # fmt: skip
        body = whole["body"] | {name: value}
        if name == "made_at":
            body["kept_until"] = months_after(1, 60)
        with pytest.raises(InvalidProofError):
            verify_certificate(encode_jcs(whole | {"body": body}), public)
    with pytest.raises(InvalidProofError, match="owner"):
        verify_certificate(encode_jcs(whole | {"by": "police"}), public)
    with pytest.raises(InvalidProofError, match="pinned"):
        verify_certificate(data, {"police": public["police"]})
    other = Ed25519PrivateKey.from_private_bytes(b"x" * 32).public_key()
    with pytest.raises(InvalidProofError, match="signature"):
        verify_certificate(data, {"insurer": other})
    for broken in (data[:-1], data + b" ", data.replace(b'"kept":""', b'"kept" :""'), b"{}"):
        with pytest.raises(MalformedMessageError):
            verify_certificate(broken, public)


def test_every_single_changed_byte_of_a_certificate_is_noticed(insurer, known, public):
    _, data = insurer.erase(insurer.take(Kind.ERASURE))
    for at in range(0, len(data), 7):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises((InvalidProofError, MalformedMessageError)):
            verify_certificate(changed, public)


@pytest.mark.parametrize("target", ["person", "request"])
def test_hold_stops_an_erasure_and_says_why(insurer, known, target):
    number = insurer.take(Kind.ERASURE)
    token = insurer.file.tokens(number)[0]
    (hold,) = insurer.rights.hold(
        [token if target == "person" else number], "legal department",
        insurer.rights.now + 30 * DAY, insurer.who(reason="proceedings at the district court"),
    )  # fmt: skip
    before = insurer.shelf.items()
    with pytest.raises(LegalHoldError, match=r"legal department.*30 more days.*district court"):
        insurer.erase(number)
    assert insurer.shelf.items() == before
    last = insurer.entries()[-1]
    assert (last.outcome, last.decision, last.policies) == (
        Outcome.REFUSED, Decision.DENY, ("legal_hold",),
    )  # fmt: skip
    assert hold.owner == insurer.who().actor
    insurer.rights.release(hold.number, insurer.who())
    with pytest.raises(OutOfTurnError):
        insurer.rights.release(hold.number, insurer.who())
    assert insurer.erase(number)[0].answer is Answer.GRANTED


def test_hold_ends_by_itself_and_is_then_forgotten(insurer, known, rows):
    number = insurer.take(Kind.ERASURE)
    token = insurer.file.tokens(number)[0]
    insurer.rights.hold([token], "legal", insurer.rights.now + DAY, insurer.who())
    insurer.clock.advance(DAY)
    insurer.erase(number)
    insurer.rights.close(number, insurer.who())
    assert rows(insurer, "SELECT * FROM holds") == []


def test_hold_of_another_person_stops_nothing(insurer, known, numbers):
    other = insurer.take(Kind.ACCESS, numbers[1])
    insurer.rights.hold(
        [*insurer.file.tokens(other), other], "legal", insurer.rights.now + DAY, insurer.who()
    )
    assert insurer.erase(insurer.take(Kind.ERASURE))[0].answer is Answer.GRANTED


@pytest.mark.parametrize("dies", ["before", "after"])
def test_crash_between_steps_is_finished_by_repeating(insurer, known, public, dies, killed):
    number = insurer.take(Kind.ERASURE)
    shelf = insurer.shelf
    shelf.dies = dies
    with pytest.raises(killed):
        insurer.erase(number, shelf=shelf)
    assert insurer.file.case(number).state is State.IN_WORK
    _, data = insurer.erase(number)
    counts = {item.store: item.count for item in verify_certificate(data, public).erased}
    assert counts["test/shelf"] == 2  # also where they were gone before the repetition
    assert len(insurer.shelf.items()) == 1
    # To go on needs no second decision: the entry is that of the first call.
    acts = [entry.act for entry in insurer.entries() if entry.subject_matter == "rights/erasure"]
    assert acts.count("erase") == 1


@pytest.mark.parametrize("step", ["_plan", "_erase", "_certify", "_done"])
def test_crash_after_any_step_is_finished_by_repeating(insurer, known, public, killed, step):
    number = insurer.take(Kind.ERASURE)
    erasure = insurer.erasure()
    whole = getattr(erasure, step)

    def then_die(*arguments):
        whole(*arguments)
        raise killed

    setattr(erasure, step, then_die)
    with pytest.raises(killed):
        erasure.run(number, insurer.who())
    made = list((insurer.root / "rights").glob("certificates/*"))
    case, data = insurer.erase(number)
    found = verify_certificate(data, public)
    assert {item.store: item.count for item in found.erased}["test/shelf"] == 2
    assert case.state is State.ANSWERED
    # A certificate that was made before the crash is the one that counts.
    assert len(made) <= 1
    assert len(list((insurer.root / "rights").glob("certificates/*"))) == 1


def test_finished_erasure_again_gives_the_same_certificate(insurer, known):
    number = insurer.take(Kind.ERASURE)
    first = insurer.erase(number)
    size = len(insurer.entries())
    assert insurer.erase(number) == first
    assert len(insurer.entries()) == size


def test_store_that_must_wait_leaves_the_request_in_work(insurer, known, sealed_phone):
    class Waiting(type(insurer.shelf)):
        def erase(self, subject):
            raise StoreWaitsError("test/waiting: publish first")

    number = insurer.take(Kind.ERASURE)
    waiting = Waiting(insurer.root / "other.json", name="test/waiting")
    erasure = insurer.erasure()
    erasure._stores = [waiting, insurer.shelf]
    with pytest.raises(StoreWaitsError, match="publish"):
        erasure.run(number, insurer.who())
    assert insurer.file.case(number).state is State.IN_WORK
    assert sealed_phone not in insurer.shelf.items()  # the others do not wait for it
    assert insurer.erase(number)[0].state is State.ANSWERED


def test_retention_keeps_the_log_and_the_answer_says_so(insurer, known, public, numbers):
    number = insurer.take(Kind.ERASURE)
    case, data = insurer.erase(number, keep_log="statutory_retention")
    found = verify_certificate(data, public)
    assert (case.answer, case.code) == (Answer.PARTLY, "statutory_retention")
    assert found.kept == "statutory_retention"
    assert "log/private-parts" not in {item.store for item in found.erased}
    part = insurer.office.parts.read(known[0], insurer.entries()[known[0].index].commitment)
    assert part.case == "C-1"


def test_earlier_requests_of_the_person_are_erased_too(insurer, known, public):
    earlier = insurer.take(Kind.ACCESS)
    insurer.rights.answer(earlier, Answer.GRANTED, "", insurer.who())
    number = insurer.take(Kind.ERASURE)
    with pytest.raises(OutOfTurnError, match=earlier):
        insurer.erase(number)
    insurer.rights.close(earlier, insurer.who())
    _, data = insurer.erase(number)
    counts = {item.store: item.count for item in verify_certificate(data, public).erased}
    assert counts["rights/requests"] == 1
    assert insurer.file.case(earlier).is_erased
    assert insurer.file.case(earlier).answer is Answer.GRANTED


def test_erasure_needs_a_second_person_and_a_reason(insurer, known):
    number = insurer.take(Kind.ERASURE)
    for who in (insurer.who(second=False), insurer.who(reason="")):
        with pytest.raises(NotPermittedError):
            insurer.erasure().run(number, who)
    assert len(insurer.shelf.items()) == 3


def test_erasure_is_not_granted_by_saying_so(insurer):
    number = insurer.take(Kind.ERASURE)
    with pytest.raises(OutOfTurnError, match="erasing"):
        insurer.rights.answer(number, Answer.GRANTED, "", insurer.who())
    with pytest.raises(OutOfTurnError, match="only an erasure"):
        insurer.erase(insurer.take(Kind.ACCESS))


def test_certificate_file_is_one_canonical_json(insurer, known):
    _, data = insurer.erase(insurer.take(Kind.ERASURE))
    assert encode_jcs(json.loads(data)) == data
