"""Decisions of a log are made again by the state at their time, and not by that of today."""

import shutil
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.coverage import Lookup
from compliance.agreement.signing import SignedAgreement
from compliance.agreement.store import AgreementStore
from compliance.agreement.vocabulary import Channel
from compliance.clock import FixedClock
from compliance.office.about import About
from compliance.office.opening import open_office
from compliance.office.replaying import replay_log
from compliance.policy.actors import Facts, StaffRole, hour_at
from protocols.tlog.entry import Entry, Verb

NOW = 1_795_305_600
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())
    for name in ("hub", "insurer", "police", "telecom")
}


class Case:
    """The insurer's office, and two versions of an agreement that began long ago."""

    def __init__(self, root, agree):
        self.root = root
        self.clock = FixedClock(NOW)
        self.first = agree(KEYS)
        self.next = agree(KEYS, former=self.first.agreement)
        self.store().keep(self.first.signed, now=NOW - 1000)
        self.office = self.opened(root)

    def opened(self, root):
        return open_office(
            root, "insurer", "insurer/audit", self.first.identities, clock=self.clock
        )

    def store(self):
        return AgreementStore(self.root / "agreements", self.first.identities)

    def check(self, times=1):
        for _ in range(times):
            self.clock.advance(20)
            facts = Facts(hour=hour_at(NOW), channel="counter", case_present=True)
            self.office.perform(
                "check",
                About(Verb.CONSULT, "epoch-1/counter", subject="token", case="case 7"),
                by=self.office.person("amy", [StaffRole.DESK]),
                facts=facts,
                question=Lookup("insurer", Channel.COUNTER),
            )

    def check_by_the_former(self):
        """Decide as a program would that has missed all that came since."""
        kept, spare = self.root / "agreements", self.root / "spare"
        kept.rename(spare)
        self.store().keep(self.first.signed)
        self.check()
        shutil.rmtree(kept)
        spare.rename(kept)

    def supersede(self, *, noted=True):
        self.clock.advance(60)
        now = self.clock.now() if noted else None
        *others, last = self.next.signed.signatures.items()
        self.store().keep(SignedAgreement(self.next.agreement, dict(others)), now=NOW - 500)
        self.store().keep_signature(self.next.agreement.digest, last[0], last[1], now=now)
        self.clock.advance(60)

    def forget_notes(self):
        shutil.rmtree(self.root / "agreements" / "kept")

    def replayed(self):
        """Return what differs, by number of the entry, read by a fresh office."""
        with self.opened(self.root) as office:
            found = replay_log(office, office.document, origin=office.yearly.origin())
            items = {item.place.index: " ".join(item.differences) for item in found}
        assert items
        return {number: text for number, text in items.items() if text}


@pytest.fixture
def case(tmp_path, agree):
    made = Case(tmp_path, agree)
    yield made
    made.office.close()


def test_superseding_changes_nothing_of_what_was_decided_before(case):
    case.check(4)
    case.supersede()
    case.check(2)
    first, later = case.first.agreement.digest, case.next.agreement.digest
    assert [entry.agreement.digest for entry in entries(case)] == [first] * 4 + [later] * 2
    assert case.replayed() == {}


def test_decision_by_a_version_that_was_superseded_already_is_told(case):
    case.check(2)
    case.supersede()
    case.check_by_the_former()
    case.check()
    assert list(case.replayed()) == [2]
    assert "it was superseded" in case.replayed()[2]


def test_decision_of_the_very_moment_was_right_by_either_version(case):
    case.supersede()
    case.clock.advance(-60 - 20 + 5)  # five seconds after the last signature
    case.check_by_the_former()
    case.clock.advance(-20)
    case.check()
    assert case.replayed() == {}


def test_revocation_counts_from_when_it_came(case):
    case.check(2)
    case.clock.advance(60)
    word = case.first.revocation("police", now=NOW - 900)
    case.store().keep_revocation(word, now=case.clock.now())
    assert case.replayed() == {}
    case.clock.advance(60)
    case.check_by_the_former()
    assert list(case.replayed()) == [2]
    assert "it was revoked" in case.replayed()[2]


def test_decision_before_all_had_signed_is_told(case):
    case.supersede()
    case.check()
    digest, name = case.next.agreement.digest.hex(), case.next.agreement.names[-1]
    (case.root / "agreements" / "kept" / f"{digest}.{name}.signature").write_text(
        str(case.clock.now() + 60)
    )
    assert "it was draft" in case.replayed()[0]


def test_end_of_an_agreement_changes_nothing_of_what_was_decided_before(case):
    case.check(2)
    case.clock.seconds = case.first.agreement.not_after + 5
    with case.opened(case.root) as office:
        found = list(replay_log(office, office.document, origin=f"insurer/audit/{2026}"))
    assert [item.differences for item in found] == [(), ()]


def test_without_notes_the_first_decision_by_the_new_version_is_the_edge(case):
    case.check(2)
    case.supersede(noted=False)
    case.check()
    case.forget_notes()
    assert case.replayed() == {}
    case.check_by_the_former()
    assert list(case.replayed()) == [3]
    assert "it was superseded" in case.replayed()[3]


def test_note_is_of_the_moment_in_which_the_signature_stayed(case):
    digest = case.next.agreement.digest
    *others, (name, last) = case.next.signed.signatures.items()
    case.store().keep(SignedAgreement(case.next.agreement, dict(others)))
    note = case.root / "agreements" / "kept" / f"{digest.hex()}.{name}.signature"
    note.write_text("5")  # a crash left it without its signature
    assert case.store().keep_signature(digest, name, last, now=NOW)
    assert note.read_text() == str(NOW)
    assert not case.store().keep_signature(digest, name, last, now=NOW + 9)
    assert note.read_text() == str(NOW)


def test_damaged_note_is_told(case):
    case.check()
    next((case.root / "agreements" / "kept").iterdir()).write_text("soon")
    # Seen by whoever reads anew.
    assert "not a time" in case.replayed()[0]


def entries(case):
    origin = case.office.yearly.origin()
    size = case.office.storage.edge(origin).size
    return [Entry.decode(data) for data in case.office.storage.entries(origin, 0, size)]
