"""No epoch is used that the hub's log does not show: what is asked, believed and refused."""

import os
import random
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.keys import credentials
from clients.lookup.alarms import AlarmKind, Alarms
from clients.lookup.api import HubApi
from clients.lookup.logged import KEY, LogKeyChangedError
from clients.lookup.session import Lookup
from clients.lookup.trust import ALARMS, NotLoggedError, Trust
from clients.witness.pins import Pin, Pins
from clients.witness.service import witness_folder
from protocols.epoch.manifest import EpochManifest
from protocols.errors import InvalidProofError
from protocols.lookup.request import Purpose
from protocols.oprf.keygen import generate_key
from protocols.oprf.setup import Setup
from protocols.program import run_together
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import sign_checkpoint
from protocols.tlog.entry import Outcome, Verb
from protocols.tlog.logkey import SignedLogKey, sign_log_key
from protocols.tlog.note import KeyKind, Note, Signer, VerifierKey
from protocols.tlog.policy import NONE, Group, Log, Policy, Witness
from protocols.tlog.proof import LogProof

WITNESS = Signer.from_seed("police/witness", KeyKind.COSIGNATURE, b"w" * 32)


class Asker:
    """The insurer's view of the hub; `waits` are the pauses that it made."""

    def __init__(self, town, *, pauses_s=()):
        self.town = town
        self.home = town.home()
        self.api = HubApi(self.home.config().api, credentials(self.home.keys), pauses_s=())
        self.pauses_s = pauses_s
        self.waits = []
        self.on_wait = lambda: None

    def wait(self, pause_s):
        self.waits.append(pause_s)
        self.on_wait()

    def manifest(self, **options):
        trust = Trust(self.home, pauses_s=self.pauses_s, sleep=self.wait)
        return trust.manifest(self.api, self.town.clock.now(), **options)

    def kept(self):
        return sorted(path.name for path in (self.home.root / "lookup" / "manifests").iterdir())

    def alarms(self):
        alarms = Alarms(self.home.root / ALARMS)
        try:
            return [alarm.kind for alarm in alarms.all()]
        finally:
            alarms.close()

    def forge(self, change):
        """Let the hub answer with another proof than the right one."""
        genuine = self.api.evidence
        self.api.evidence = lambda document: change(LogProof.decode(genuine(document))).encode()


@pytest.fixture
def make_asker(make_town):
    made = []

    def make(on_record=True, **options):
        made.append(Asker(make_town(on_record=on_record), **options))
        return made[-1]

    yield make
    for asker in made:
        asker.api.close()


@pytest.fixture
def asker(make_asker):
    return make_asker()


def test_evidence_is_asked_for_once_and_kept(asker):
    manifest = asker.manifest()
    assert set(asker.kept()) == {"5.json", f"{manifest.digest.hex()}.tlog-proof"}
    asker.api.evidence = asker.api.log_key = None  # would fail if it were asked again
    assert asker.manifest().digest == manifest.digest
    with Lookup(asker.home, clock=asker.town.clock) as lookup:
        lookup.api.evidence = lookup.api.log_key = None
        lookup.sync()
        lookup.evaluate([b"somebody"], purpose=Purpose.SCREENING)
    assert asker.town.used() == 1


def test_epoch_that_is_not_on_record_is_not_used(make_asker):
    asker = make_asker(on_record=False, pauses_s=(1.0, 2.0))
    with pytest.raises(NotLoggedError, match="published log does not have it"):
        asker.manifest()
    assert (asker.waits, asker.kept(), asker.alarms()) == ([1.0, 2.0], [], [])
    # Entered, but under no checkpoint yet: the same.
    asker.town.put_on_record(publish=False)
    with pytest.raises(NotLoggedError):
        asker.manifest(patient=False)
    assert asker.waits == [1.0, 2.0]


def test_next_checkpoint_is_waited_for(make_asker):
    asker = make_asker(on_record=False, pauses_s=(1.0, 1.0, 1.0))
    asker.town.put_on_record(publish=False)
    asker.on_wait = lambda: len(asker.waits) == 2 and asker.town.log.yearly.checkpoint()
    assert asker.manifest().digest == asker.town.manifest.digest
    assert asker.waits == [1.0, 1.0]


def test_nothing_is_evaluated_under_an_epoch_that_is_not_logged(make_asker, monkeypatch):
    asker = make_asker(on_record=False)
    monkeypatch.setattr("clients.lookup.logged.time.sleep", lambda _: None)
    with Lookup(asker.home, clock=asker.town.clock) as lookup:
        lookup.trust = Trust(asker.home, pauses_s=())
        with pytest.raises(NotLoggedError):
            lookup.evaluate([b"somebody"], purpose=Purpose.SCREENING)
        assert "does not have it" in lookup.freshen(0)
    assert asker.town.used() == 0


def another_log(asker, make_asker):
    """The evidence of the same document in a log of the same origin and another key."""
    other = make_asker()
    other.town.manifest = asker.town.manifest
    other.town.put_on_record()
    return other.api.evidence(asker.town.manifest.digest)


@pytest.mark.parametrize(
    "change",
    [
        lambda proof: replace(proof, extra=None),
        lambda proof: replace(proof, extra=proof.extra + b" "),
        lambda proof: replace(proof, index=proof.index + 1),
        lambda proof: replace(proof, hashes=(bytes(32), *proof.hashes[1:])),
        lambda proof: replace(proof, hashes=proof.hashes[:-1]),
        lambda proof: replace(proof, note=replace(proof.note, text=grown(proof.note.text))),
    ],
)
def test_evidence_that_does_not_hold_is_refused_with_an_alarm(asker, change):
    town = asker.town
    town.put_on_record(document=b"x" * 32)
    town.put_on_record(document=b"y" * 32)
    asker.forge(change)
    for _ in range(2):
        with pytest.raises(NotLoggedError, match="does not hold"):
            asker.manifest()
    assert (asker.kept(), asker.alarms()) == ([], [AlarmKind.UNLOGGED_EPOCH])


def grown(text):
    checkpoint = Checkpoint.parse(text)
    return replace(checkpoint, size=checkpoint.size + 1).format()


@pytest.mark.parametrize("answer", ["other epoch", "other key", "other prefix"])
def test_evidence_of_something_else_is_refused(asker, make_asker, answer):
    if answer == "other epoch":
        asker.town.put_on_record(document=b"o" * 32)
        data = asker.api.evidence(b"o" * 32)
    else:
        data = another_log(asker, make_asker)
    if answer == "other prefix":
        data = data.replace(b"lianfang/audit", b"lianfang/other")
    asker.api.evidence = lambda _: data
    with pytest.raises(NotLoggedError, match="does not hold"):
        asker.manifest()
    assert (asker.kept(), asker.alarms()) == ([], [AlarmKind.UNLOGGED_EPOCH])


@pytest.mark.parametrize(
    "changes",
    [
        {"act": "end_epoch"},
        {"act": "publish", "verb": Verb.DISCLOSE},
        {"outcome": Outcome.FAILED},
        {"organisation": "police"},
    ],
)
def test_entry_that_does_not_begin_the_epoch_is_no_evidence(make_asker, changes):
    asker = make_asker(on_record=False)
    asker.town.put_on_record(**changes)
    with pytest.raises(NotLoggedError):
        asker.manifest()
    # Once it is begun in the log as well, the first entry is not in the way.
    if "outcome" in changes:
        asker.town.put_on_record()
        asker.manifest()


def test_other_key_of_the_log_is_an_alarm(asker):
    asker.manifest()
    town = asker.town
    kept = (asker.home.root / KEY).read_bytes()
    assert SignedLogKey.parse(kept) == asker.api.log_key()
    town.refresh_shares()
    public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    other = sign_log_key(
        town.identities["hub"], hub="lianfang", log="lianfang/audit", public=public
    )
    asker.api.log_key = lambda: other
    for _ in range(2):
        with pytest.raises(LogKeyChangedError, match="another key"):
            asker.manifest()
    assert asker.alarms() == [AlarmKind.LOG_KEY]
    assert (asker.home.root / KEY).read_bytes() == kept


def test_key_of_the_log_must_be_the_hubs_word(asker):
    genuine = asker.api.log_key()
    for wrong in (
        replace(genuine, signature=bytes(64)),
        replace(genuine, log="lianfang/other"),
        sign_log_key(asker.town.identities["police"], hub="lianfang", log=genuine.log,
                     public=genuine.public),
        sign_log_key(asker.town.identities["hub"], hub="other", log=genuine.log,
                     public=genuine.public),
    ):  # fmt: skip
        asker.api.log_key = lambda wrong=wrong: wrong
        with pytest.raises(InvalidProofError, match="key of the log"):
            asker.manifest()
    assert not (asker.home.root / KEY).exists()


def test_key_that_our_witness_does_not_know_is_an_alarm(asker):
    key = VerifierKey("lianfang/audit/2026", KeyKind.ED25519, bytes(32))
    Pins(witness_folder(asker.home.root)).add(Pin(key, True, 3600, 1))
    with pytest.raises(LogKeyChangedError, match="witness has pinned"):
        asker.manifest()
    assert asker.alarms() == [AlarmKind.LOG_KEY]


def policy(key, quorum):
    witnesses = (Witness("police", WITNESS.key),)
    return Policy((Log(key),), witnesses, (Group("all", 1, ("police",)),), quorum).encode()


def cosigned(asker):
    """Publish the checkpoint with the signature of a witness."""
    storage, origin = asker.town.log.storage, asker.town.log.yearly.origin()
    data = storage.checkpoint(origin)
    note = Note.decode(data)
    line = sign_checkpoint(Checkpoint.parse(note.text), WITNESS, asker.town.clock.now())
    assert storage.swap_checkpoint(origin, data, note.with_signatures([line]).encode())


def test_officers_policy_asks_for_witnesses(asker):
    file = asker.home.root / "log.policy"
    file.write_bytes(policy(asker.town.log.key, "all"))
    with pytest.raises(NotLoggedError, match="no quorum"):
        asker.manifest()
    cosigned(asker)
    asker.manifest()


def test_officers_policy_stands_for_every_year_and_for_no_other_key(asker):
    file, key = asker.home.root / "log.policy", asker.town.log.key
    file.write_bytes(policy(replace(key, name="lianfang/audit/1999"), NONE))
    asker.manifest()
    for other in (
        replace(key, public=os.urandom(32)),
        replace(key, name="lianfang/other/1999"),
    ):
        stranger = Asker(asker.town)
        for path in (asker.home.root / "lookup" / "manifests").iterdir():
            path.unlink()
        file.write_bytes(policy(other, NONE))
        with stranger.api, pytest.raises(NotLoggedError, match="not signed by a log"):
            stranger.manifest()


def test_epoch_in_use_goes_on_without_waiting_for_the_log(asker):
    town = asker.town
    asker.manifest()
    town.put_on_record = lambda: None
    town.refresh_shares()
    with Lookup(asker.home, clock=town.clock) as lookup:
        lookup.trust = Trust(asker.home, pauses_s=(30.0,))
        assert "does not have it" in lookup.freshen(0)
        assert lookup.epoch().manifest.record.generation == 0
        # What the holders no longer answer is asked for with patience.
        lookup.trust = Trust(asker.home, pauses_s=())
        with pytest.raises(NotLoggedError):
            lookup.renew()


def test_epoch_in_its_grace_serves_until_the_next_is_logged(asker):
    town, names = asker.town, ("hub", "police", "telecom")
    asker.manifest()
    setup = Setup(6, 2, names, b"session-for-six.")
    source = random.Random(6).randbytes
    made = run_together({name: generate_key(town.suite, setup, name, source) for name in names})
    ended = town.manifest.not_after
    following = town.signed_manifest(
        previous=town.manifest.digest, record=made["hub"].record,
        not_before=ended, not_after=ended + 86_400,
    )  # fmt: skip
    town.clock.advance(ended - town.clock.now() + 60)
    with Lookup(asker.home, clock=town.clock) as lookup:
        lookup.trust = Trust(asker.home, pauses_s=(30.0,))
        lookup.api.current_manifest = lambda: following
        assert lookup.epoch().manifest.epoch == 5
        with pytest.raises(NotLoggedError):
            lookup.sync()
        town.put_on_record(document=EpochManifest.decode(following.manifest_bytes).digest)
        assert lookup.epoch().manifest.epoch == 6


def test_kept_manifest_without_evidence_is_not_used(asker):
    """As one that was kept before evidence was asked for."""
    manifest = asker.manifest()
    (asker.home.root / "lookup" / "manifests" / f"{manifest.digest.hex()}.tlog-proof").unlink()
    trust, now = Trust(asker.home, pauses_s=()), asker.town.clock.now()
    assert trust.in_force(now) is None
    assert trust.known(5).digest == manifest.digest
    assert asker.manifest().digest == trust.in_force(now).digest
