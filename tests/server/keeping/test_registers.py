"""What the API writes, over both databases and by two processes at once."""

import json
import time
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.store import AgreementStore
from compliance.configuration import ConfigError
from compliance.evaluations.book import BookEntry, EvaluationBook
from compliance.policy.policyset import shipped_policies
from compliance.policy.store import PolicyStore
from protocols.lookup.request import Purpose
from server.enrolment.invitations import Invitations
from server.epochs.holding import identities_of, open_holding
from server.identity.issued import LIST, REVOKED, Revocations
from server.keeping.partners import Partners
from server.keeping.shelves import FRESH_S
from server.office import PartnerKeys, agreements_of, policies_of

NAMES = ("insurer", "police", "telecom")
SECRET = b"s" * 16


@pytest.fixture
def keys():
    return {name: Ed25519PrivateKey.generate() for name in ("hub", *NAMES)}


def kept(name, key):
    identity = key.public_key().public_bytes_raw().hex()
    return {"name": name, "identity": identity, "flower_public": "", "contract": {}}


def test_partner_that_joins_at_one_is_known_at_the_other(hub, keeping, other, keys):
    pinned, identities = PartnerKeys(hub), identities_of(hub)
    assert set(pinned) == {"hub"}
    theirs = Partners(other.shelf("partners"))
    theirs.keep("police", kept("police", keys["police"]))
    time.sleep(FRESH_S)
    assert set(pinned) == {"hub", "police"}
    assert pinned["police"].public_bytes_raw() == identities("police").public_bytes_raw()
    assert list(hub.partners()) == ["police"]


def test_revocation_at_one_bars_at_the_other(hub, keeping, other, keys):
    revocations = Revocations(hub.root)
    theirs = Partners(other.shelf("partners"))
    theirs.keep("police", kept("police", keys["police"]))
    assert not revocations.bars("police", 7)
    theirs.keep("police", kept("police", keys["police"]) | {"revoked_at": 1})
    time.sleep(FRESH_S)
    assert revocations.bars("police", 7)
    assert identities_of(hub)("police") is None
    assert "police" in PartnerKeys(hub)


def test_damaged_list_lets_nobody_in(hub, keeping, other):
    other.shelf(REVOKED).put(LIST, b"nothing")
    with pytest.raises(ConfigError, match="not a revocation list"):
        Revocations(hub.root).bars("police", 7)


def test_invitation_counts_once_whoever_is_asked(hub, keeping, other):
    invitations = Invitations(hub.root)
    made = invitations.make("bank", SECRET, now=1, lasts_s=60)
    assert invitations.find(SECRET) == made
    assert other.shelf("enrolment").put_new(f"{made.number}.request.json", b'{"name": "bank"}')
    assert not invitations.take(made.number, {"name": "rival"})
    time.sleep(FRESH_S)
    assert invitations.request(made.number) == {"name": "bank"}
    assert invitations.waiting() == {"bank": made.number}
    invitations.answer(made.number, {"hub": "lianfang"})
    assert json.loads(other.shelf("enrolment").get(f"{made.number}.welcome.json"))
    assert invitations.waiting() == {}


def test_agreement_revoked_at_one_ends_at_the_other(hub, keeping, other, keys, agree):
    for name in NAMES:
        keeping.partners.keep(name, kept(name, keys[name]))
    agreed = agree(keys | {"hub": hub.identity_key()})
    ours, now = agreements_of(hub), int(time.time())
    theirs = AgreementStore(other.shelf("agreements"), PartnerKeys(hub))
    theirs.keep(agreed.signed)
    time.sleep(FRESH_S)
    assert ours.in_force(now) == agreed.agreement
    before = ours.fingerprint()
    assert theirs.keep_revocation(agreed.revocation("police", now=now), now=now)
    time.sleep(FRESH_S)
    assert ours.in_force(now) is None
    assert ours.fingerprint() != before
    assert not ours.keep_revocation(agreed.revocation("police", now=now), now=now)


def test_policies_put_in_force_at_one_decide_at_the_other(hub, keeping, other):
    ours, theirs = policies_of(hub), PolicyStore(other.shelf("policies"))
    assert ours.current().digest == theirs.current().digest == shipped_policies().digest
    assert ours.digests() == (shipped_policies().digest,)
    assert ours.load(ours.digests()[0]).digest == ours.digests()[0]


def test_numbers_of_contributors_are_given_once(hub, keeping):
    first, second = open_holding(hub), open_holding(hub)
    assert first.numbers(["police"]) == {"police": 1}
    assert second.numbers(["telecom", "police"]) == {"telecom": 2, "police": 1}
    assert first.numbers(["telecom"]) == {"telecom": 2}
    first.close()
    second.close()


def entry(number, count=5, epoch=1):
    return BookEntry(
        epoch, "insurer", Purpose.SCREENING, b"c" * 32, number.to_bytes(16, "big"), b"d" * 32,
        b"b" * 32, count, 1,
    )  # fmt: skip


def test_book_of_one_is_the_book_of_the_other(keeping, other):
    ours = EvaluationBook(keeping.book)
    theirs = EvaluationBook(partial(other.database.journal, "holder/book"))
    journal = other.book()
    with journal.exclusive():
        journal.append(entry(1).encode())
    assert ours.used_at_least(1, "insurer") == 0
    assert ours.used(1, "insurer") == theirs.used(1, "insurer") == 5
    assert ours.used_at_least(1, "insurer") == 5
    assert [one.count for one in ours.entries(1)] == [5]
    ours.close()
    theirs.close()
