"""The hub's audit log over its real API: every act once, durable before the answer, readable."""

import json
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from compliance.agreement.drafting import FRAUD
from compliance.log.export import export_log
from compliance.log.verify import verify_export
from protocols.lookup.request import NO_CASE, Purpose
from protocols.tlog.entry import Decision, Outcome, Verb
from protocols.tlog.policy import Policy

INPUTS = (b"one", b"two", b"three")
SCRIPT = Path(__file__).with_name("evaluate_and_die.py")
ROOT = Path(__file__).parents[3]


def asked(world, inputs=INPUTS, **changes):
    return world.sign(world.query(inputs).request, **changes)


def test_evaluation_has_one_entry_and_its_repetition_none(world):
    request = asked(world)
    for _ in range(3):
        assert world.post(request).status_code == 200
    again = asked(world)
    assert world.post(again).status_code == 200
    first, second = world.entries()
    assert (first.sequence, second.sequence) == (0, 1)
    assert (first.organisation, first.verb, first.outcome) == (
        "insurer", Verb.CONSULT, Outcome.DONE,
    )  # fmt: skip
    assert (first.count, first.recipients) == (3, ("insurer",))
    assert (first.act, first.policies) == ("evaluate", ("partners-take-part",))
    assert first.subject_matter == "epoch-5/counter"
    assert first.agreement.digest == world.agreed.agreement.digest
    assert (first.purpose, first.basis) == (FRAUD, "tw/pdpa-20")
    assert first.policy_set == world.parts.log.office.policies.current().digest
    assert first.actor == second.actor
    assert first.commitment != second.commitment


def test_simultaneous_repetitions_have_one_entry(world):
    request = asked(world)
    world.client("insurer")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: world.post(request), range(12)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(world.entries()) == 1


def test_refused_request_has_one_entry_with_the_reason(make_world):
    world = make_world(quota=4)
    refused = [
        (asked(world, asker="police"), "not_permitted"),
        (asked(world, case=NO_CASE), "not_permitted"),
        (replace(asked(world), signature=asked(world).signature), "invalid_proof"),
        (asked(world, (b"x",) * 5), "quota_exhausted"),
        (world.sign(replace(world.query(INPUTS).request, epoch=6)), "wrong_epoch"),
    ]
    for request, _ in refused:
        for _ in range(2):
            assert world.post(request).status_code >= 400
    found = world.entries()
    assert [entry.policies for entry in found] == [(code,) for _, code in refused]
    for entry in found:
        assert (entry.decision, entry.outcome) == (Decision.DENY, Outcome.REFUSED)
        assert (entry.organisation, entry.count, entry.recipients) == ("insurer", 0, ())
        assert entry.agreement.digest == world.agreed.agreement.digest
    assert found[-1].subject_matter == "epoch/counter"


def test_charged_request_that_fails_elsewhere_says_so_once(world):
    world.others.silent = {"police", "telecom"}
    request = asked(world)
    for _ in range(2):
        assert world.post(request).status_code == 503
    world.others.silent = set()
    assert world.post(request).status_code == 200
    assert [(e.outcome, e.policies) for e in world.entries()] == [
        (Outcome.DONE, ("partners-take-part",)),
        (Outcome.FAILED, ("partners-take-part", "too_few_holders")),
    ]
    assert world.used() == 3


def test_holder_that_refuses_is_entered_without_its_words(world):
    for name, holder in world.others.holders.items():
        world.others.holders[name] = replace(holder, identities={}.get)
    assert world.post(asked(world)).status_code == 403
    assert [e.policies for e in world.entries()] == [
        ("partners-take-part",), ("holder_refused",),
    ]  # fmt: skip


def test_private_part_alone_leads_to_the_request(world):
    request = asked(world)
    world.post(request)
    log, (entry,) = world.parts.log, world.entries()
    data = entry.encode()
    for secret in (request.digest, request.case, request.request_id):
        assert secret.hex().encode() not in data
        assert secret not in (world.directory / "log" / "log.sqlite").read_bytes()
    (place,) = log.office.parts.find_subject(f"request {request.digest.hex()}")
    part = log.office.parts.read(place, entry.commitment)
    assert (part.case, place.index) == (request.case.hex(), 0)


@pytest.mark.parametrize(("step", "left"), [("before", 0), ("after", 1)])
def test_kill_around_the_entry_leaves_one_entry_and_one_charge(world, step, left):
    request = asked(world)
    keys, identity = world.parts.log.keys, world.identities
    given = {
        "now": world.clock.now(),
        "request": request.encode().hex(),
        "identity": identity["hub"].private_bytes_raw().hex(),
        "public": {n: k.public_key().public_bytes_raw().hex() for n, k in identity.items()},
        "log": [
            part.hex()
            for part in (
                keys.signing.private_bytes_raw(), keys.master, keys.index, keys.pseudonyms,
            )
        ],
    }  # fmt: skip
    (world.directory / "child.json").write_text(json.dumps(given))
    done = subprocess.run(
        [sys.executable, SCRIPT, world.directory, step], cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(world.entries()) == left
    assert world.used() == 3
    assert world.post(request).status_code == 200
    assert [entry.outcome for entry in world.entries()] == [Outcome.DONE]
    assert world.used() == 3


def test_without_the_log_there_is_no_answer_and_no_refusal(world, problem, break_log):
    request, refused = asked(world), asked(world, case=NO_CASE)
    break_log(world)
    for _ in range(2):
        problem(world.post(request), 503, "storage_failed")
    problem(world.post(refused), 503, "storage_failed")


def test_publication_is_entered_once_before_it_is_in_force(world):
    delta = world.delta(world.records(3))
    for _ in range(2):
        assert world.send_delta(delta).status_code == 200
    (entry,) = world.entries()
    assert (entry.organisation, entry.verb, entry.count) == ("police", Verb.DISCLOSE, 3)
    assert entry.recipients == ("insurer", "telecom")
    assert entry.subject_matter == "epoch-5/table"


def test_without_the_log_the_former_table_stays_in_force(world, problem, break_log):
    world.publish(world.delta(world.records(3)))
    delta = world.delta(world.records(2))
    break_log(world)
    problem(world.publish(delta), 503, "storage_failed")
    assert world.parts.tables.current(5, "police").version == 1
    # Once the log is back the same delta goes through.
    connection = sqlite3.connect(world.directory / "log" / "log.sqlite")
    connection.execute("ALTER TABLE gone RENAME TO tlog_entry")
    connection.commit()
    connection.close()
    assert world.publish(delta).status_code == 200
    assert [entry.count for entry in world.entries()] == [3, 5]


def test_export_verifies_and_the_api_serves_the_same_files(make_world, tmp_path):
    world = make_world(quota=10**6)
    log = world.parts.log
    world.publish(world.delta(world.records(3)))
    for number in range(260):
        asker = ("insurer", "telecom")[number % 2]
        request = asked(world, (b"x",), asker=asker, purpose=Purpose.ONLINE)
        assert world.post(request, name=asker).status_code == 200
    log.yearly.checkpoint()
    origin = log.yearly.origin()
    checkpoint = export_log(log.storage, origin, tmp_path / "export")
    report = verify_export(tmp_path / "export", Policy.decode(log.policy_of(origin).encode()))
    assert report.is_whole, report.fault
    assert (report.size, report.entries) == (261, 261) == (checkpoint.size, checkpoint.size)
    year, client = origin.rpartition("/")[2], world.client("police")
    files = [path for path in (tmp_path / "export").rglob("*") if path.is_file()]
    assert len(files) == 6
    for path in files:
        where = f"/v1/log/{year}/{path.relative_to(tmp_path / 'export')}"
        answer = client.get(where)
        assert (answer.status_code, answer.content) == (200, path.read_bytes()), where
        unchanged = client.get(where, headers={"If-None-Match": answer.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
    # An earlier partial tile stays readable; nothing behind the checkpoint is.
    assert client.get(f"/v1/log/{year}/tile/entries/001.p/4").status_code == 200
    assert client.get(f"/v1/log/{year}/tile/entries/001.p/6").status_code == 404
    assert client.get(f"/v1/log/{int(year) - 1}/checkpoint").status_code == 404


def test_only_what_a_checkpoint_covers_is_served(world, problem):
    year = world.parts.log.yearly.origin().rpartition("/")[2]
    client = world.client("police")
    world.post(asked(world))
    problem(client.get(f"/v1/log/{year}/checkpoint"), 404, "not_found")
    problem(client.get(f"/v1/log/{year}/tile/entries/000.p/1"), 404, "not_found")
    world.parts.log.yearly.checkpoint()
    world.post(asked(world))
    assert client.get(f"/v1/log/{year}/tile/entries/000.p/1").status_code == 200
    problem(client.get(f"/v1/log/{year}/tile/entries/000.p/2"), 404, "not_found")
    problem(client.get(f"/v1/log/{year}/tile/entries/1"), 404, "not_found")
    problem(world.client().get(f"/v1/log/{year}/checkpoint"), 403, "certificate_required")


def test_state_of_the_log_is_told_to_partners(world):
    world.post(asked(world))
    log = world.parts.log
    log.yearly.checkpoint()
    found = world.client("insurer").get("/v1/log").json()
    assert found["key"] == log.key.format()
    assert (found["publication"], found["witnessed"], found["quorum"]) == ("starting", False, 0)
    assert found["years"] == [
        {"year": int(log.key.name.rpartition("/")[2]), "origin": log.key.name, "size": 1}
    ]
