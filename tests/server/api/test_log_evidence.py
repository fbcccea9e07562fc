"""Evidence and the key of the log over the real API: for partners, in one spelling, cacheable."""

import json
from dataclasses import replace

from protocols.tlog.entry import Decision, Entry, Outcome, Verb
from protocols.tlog.evidence import verify_evidence
from protocols.tlog.logkey import SignedLogKey, verify_log_key

DOCUMENT = b"d" * 32
ENTRY = Entry(
    sequence=0, time=1_795_305_600, organisation="hub", actor=b"a" * 16, verb=Verb.ALTER,
    act="begin_epoch", purpose="https://w3id.org/dpv#FraudPreventionAndDetection", basis="none",
    agreement=None, policy_set=b"p" * 32, policies=("epochs",), decision=Decision.PERMIT,
    outcome=Outcome.DONE, subject_matter="epoch-5/key", recipients=(), count=0,
    document=DOCUMENT, charge=None, commitment=b"c" * 32,
)  # fmt: skip


def test_evidence_is_given_to_partners_once_it_is_published(world, problem):
    log, client = world.parts.log, world.client("police")
    path = f"/v1/log/evidence/{DOCUMENT.hex()}"
    problem(client.get(path), 404, "not_found")
    log.yearly.append(ENTRY)
    problem(client.get(path), 404, "not_found")
    log.yearly.checkpoint()
    answer = client.get(path)
    assert answer.headers["content-type"].startswith("text/plain")
    policy = log.policy_of(log.yearly.origin())
    assert verify_evidence(answer.content, DOCUMENT, policy).entry == ENTRY
    tag = {"If-None-Match": answer.headers["etag"]}
    assert client.get(path, headers=tag).status_code == 304
    # Under the next checkpoint it is another proof of the same entry.
    log.yearly.append(replace(ENTRY, document=None, commitment=b"n" * 32))
    log.yearly.checkpoint()
    assert client.get(path, headers=tag).status_code == 200
    problem(world.client().get(path), 403, "certificate_required")


def test_other_spellings_of_a_document_are_no_requests(world, problem):
    client = world.client("police")
    for name in ("", "00", "D" * 64, DOCUMENT.hex() + "0", f"{DOCUMENT.hex()}%0A"):
        answer = client.get(f"/v1/log/evidence/{name}")
        assert answer.status_code in {404, 422}, name


def test_key_is_the_hubs_word(world, problem):
    answer = world.client("police").get("/v1/log/key")
    found = SignedLogKey.parse(answer.content)
    verify_log_key(found, world.identities["hub"].public_key())
    log = world.parts.log
    assert found.key_of(log.yearly.origin()) == log.key
    assert json.loads(answer.content)["hub"] == world.parts.hub
    problem(world.client().get("/v1/log/key"), 403, "certificate_required")
