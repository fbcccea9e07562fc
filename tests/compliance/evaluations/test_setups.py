"""Holders' parts in set-ups, in memory: what each must have agreed to before it signs."""

import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.clock import FixedClock
from compliance.errors import ComplianceError, NotPermittedError, UnknownPartnerError
from compliance.evaluations.setups import MAX_OPEN, KeySetups
from compliance.evaluations.store import EpochStore
from protocols.epoch.grants import Grant
from protocols.epoch.manifest import NO_PREVIOUS, SignedManifest
from protocols.epoch.orders import RunOrder
from protocols.epoch.setup import KeygenTerms
from protocols.errors import InvalidProofError, OutOfTurnError, ProtocolError
from protocols.group.select import load_group
from protocols.lookup.request import Purpose
from protocols.oprf.suite import Mode, Suite
from protocols.program import run_together

NAMES = ("hub", "police", "telecom")
NOW = 1_800_000_000
MONTH_S = 31 * 24 * 3600
SUITE = Suite(load_group(), Mode.VOPRF)
TERMS = KeygenTerms(
    hub="fraud-hub", epoch=1, threshold=2, holders=NAMES, session=b"1" * 16, not_before=NOW,
    not_after=NOW + MONTH_S, grace_s=86_400, contributors={"police": 1, "telecom": 2},
    askers={"insurer": Grant(100, frozenset({Purpose.COUNTER}))}, previous=NO_PREVIOUS,
)  # fmt: skip


class Circle:
    """Three holders with a directory each."""

    def __init__(self, root):
        self.keys = {name: Ed25519PrivateKey.generate() for name in (*NAMES, "stranger")}
        self.pinned = {name: self.keys[name].public_key() for name in NAMES}
        self.stores = {name: EpochStore(root / name) for name in NAMES}
        self.clock = FixedClock(NOW)
        self.setups = {name: self.holder(name) for name in NAMES}

    def holder(self, name):
        return KeySetups(
            name=name, suite=SUITE, store=self.stores[name], identity=self.keys[name],
            identities=self.pinned.get, clock=self.clock, random=os.urandom,
        )  # fmt: skip

    def order(self, terms):
        announced = {name: setups.announce(terms) for name, setups in self.setups.items()}
        return RunOrder(terms.session, announced)

    def signed(self, terms):
        """Make the key and return the manifest that all have signed."""
        order = self.order(terms)
        programs = {name: setups.begin(order)[1] for name, setups in self.setups.items()}
        records = {
            name: self.setups[name].sign(terms, share)
            for name, share in run_together(programs).items()
        }
        manifest = terms.manifest(records["hub"].record)
        signatures = {name: record.signature for name, record in records.items()}
        return SignedManifest(manifest.encode(), signatures)

    def made(self, terms):
        signed = self.signed(terms)
        (manifest,) = {
            setups.activate(signed).digest: setups.activate(signed)
            for setups in self.setups.values()
        }.values()
        return manifest


@pytest.fixture
def circle(tmp_path):
    return Circle(tmp_path)


def test_three_holders_make_and_refresh_a_key(circle):
    first = circle.made(TERMS)
    again = replace(TERMS, session=b"2" * 16, previous=first.digest, refresh=True)
    second = circle.made(again)
    assert second.record.public == first.record.public
    assert second.record.generation == 1
    following = replace(TERMS, session=b"3" * 16, epoch=2, previous=second.digest)
    assert circle.made(following).record.public != first.record.public


def test_frames_between_holders_are_sealed(circle):
    order = circle.order(TERMS)
    programs = {name: setups.begin(order)[1] for name, setups in circle.setups.items()}
    seen = []
    shares = run_together(programs, lambda party, request: seen.append(request))
    payloads = b"".join(request.payload for request in seen if hasattr(request, "payload"))
    for commitment in shares["hub"].record.public_shares:
        assert commitment not in payloads
    # Version, number and tag surround every share of 32 bytes.
    assert payloads
    assert min(len(request.payload) for request in seen if hasattr(request, "payload")) > 32


def test_session_is_run_once(circle):
    order = circle.order(TERMS)
    circle.setups["hub"].begin(order)
    with pytest.raises(OutOfTurnError, match="broken off before"):
        circle.setups["hub"].begin(order)


def test_announcement_is_repeated_for_the_same_terms_only(circle):
    hub = circle.setups["hub"]
    assert hub.announce(TERMS) == hub.announce(TERMS)
    with pytest.raises(OutOfTurnError, match="other terms"):
        hub.announce(replace(TERMS, threshold=3))


def test_forgotten_sessions_are_bounded(circle):
    hub = circle.setups["hub"]
    for number in range(MAX_OPEN + 1):
        hub.announce(replace(TERMS, session=bytes([number]) * 16))
    with pytest.raises(OutOfTurnError):
        hub.begin(RunOrder(bytes(16), {"hub": b"a" * 96}))


@pytest.mark.parametrize("victim", NAMES)
def test_swapped_announcement_is_refused(circle, victim):
    order = circle.order(TERMS)
    other = circle.order(replace(TERMS, session=b"9" * 16))
    swapped = dict(order.announcements) | {victim: other.announcements[victim]}
    with pytest.raises(InvalidProofError):
        circle.setups["hub"].begin(RunOrder(TERMS.session, swapped))


def test_order_without_a_holder_is_refused(circle):
    order = circle.order(TERMS)
    fewer = {name: order.announcements[name] for name in ("hub", "police")}
    with pytest.raises(InvalidProofError, match="not those of its holders"):
        circle.setups["hub"].begin(RunOrder(TERMS.session, fewer))


def test_holder_without_a_pinned_key_is_unknown(circle):
    del circle.pinned["telecom"]
    with pytest.raises(UnknownPartnerError, match="telecom"):
        circle.setups["hub"].announce(TERMS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"holders": ("police", "telecom")}, "hub is not one of them"),
        ({"not_before": NOW - 2 * MONTH_S, "not_after": NOW}, "has passed"),
    ],
)
def test_terms_that_cannot_be_ours_are_refused(circle, change, reason):
    with pytest.raises(NotPermittedError, match=reason):
        circle.setups["hub"].announce(replace(TERMS, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 1},
        {"previous": b"x" * 32},
        {"hub": "other-hub"},
        {"contributors": {"police": 2, "telecom": 1}},
        {"contributors": {"insurer": 1}},
    ],
)
def test_epoch_that_does_not_follow_is_refused(circle, change):
    first = circle.made(TERMS)
    good = {"session": b"2" * 16, "epoch": 2, "previous": first.digest}
    circle.setups["hub"].announce(replace(TERMS, **good, not_after=NOW + MONTH_S))
    with pytest.raises((ComplianceError, ProtocolError)):
        circle.setups["hub"].announce(replace(TERMS, **{**good, "session": b"3" * 16, **change}))


@pytest.mark.parametrize(
    "change", [{"previous": b"x" * 32}, {"not_after": NOW + 2 * MONTH_S}, {"grace_s": 0}]
)
def test_refresh_that_changes_the_epoch_is_refused(circle, change):
    first = circle.made(TERMS)
    good = {"session": b"2" * 16, "refresh": True, "previous": first.digest}
    with pytest.raises(NotPermittedError):
        circle.setups["hub"].announce(replace(TERMS, **{**good, **change}))


def test_refresh_may_add_an_asker(circle):
    first = circle.made(TERMS)
    askers = {**TERMS.askers, "telecom": Grant(5, frozenset({Purpose.ALIGNMENT}))}
    again = replace(TERMS, session=b"2" * 16, refresh=True, previous=first.digest, askers=askers)
    assert circle.made(again).askers == askers


def test_manifest_that_one_has_not_signed_is_not_used(circle):
    signed = circle.signed(TERMS)
    fewer = {name: signed.signatures[name] for name in ("hub", "police")}
    with pytest.raises(InvalidProofError, match="telecom is missing"):
        circle.setups["hub"].activate(SignedManifest(signed.manifest_bytes, fewer))
    assert circle.stores["hub"].epochs() == ()


def test_second_key_for_an_epoch_in_use_is_refused(circle):
    late = circle.signed(TERMS)
    circle.made(replace(TERMS, session=b"2" * 16))
    with pytest.raises(ProtocolError):
        circle.setups["hub"].activate(late)
