"""The officer's commands on an exported log: verify, search, sum up, pack, and verify again."""

import json
import zipfile
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from clients.audit.cli import app
from clients.audit.home import AuditHome
from clients.node.home import Home
from clients.output import explain
from compliance.clock import FixedClock
from compliance.log.draft import draft_entry
from compliance.log.export import export_log
from compliance.log.log import Log
from compliance.log.second import FileCheckpoints
from compliance.log.sqlstore import SqlStorage
from compliance.policy.policyset import shipped_policies
from protocols.dp.events import Gaussian
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import sign_checkpoint
from protocols.tlog.entry import Agreement, Charge, Decision, Entry, Outcome, Verb
from protocols.tlog.note import KeyKind, Signer
from protocols.tlog.policy import Log as KnownLog
from protocols.tlog.policy import Policy, Witness

ORIGIN, NOW = "hub.example/audit/2026", 1_795_305_600
FRAUD = "https://w3id.org/dpv#FraudPreventionAndDetection"
PLAIN = Entry(
    0, NOW, "insurer", b"a" * 16, Verb.CONSULT, "evaluate", FRAUD, "tw/pdpa-20-4",
    Agreement("joint-defence", b"a" * 32), b"p" * 32, ("desk-checks",), Decision.PERMIT,
    Outcome.DONE, "fraud-reports", ("insurer",), 1, None, None, b"c" * 32,
)  # fmt: skip


def run(*arguments, code=0):
    """Run a command as `lianfang` does, with its exit codes; returns what it wrote."""
    done = CliRunner().invoke(app, [str(item) for item in arguments])
    ended = done.exit_code
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        ended = explain(done.exception)
    assert ended == code, done.output + done.stderr
    return done.stdout


def told(*arguments, code=0):
    return json.loads(run(*arguments, "--format", "json", code=code))


def entry(number, **changes):
    unique = {"time": NOW + 70 * number, "commitment": number.to_bytes(32, "big")}
    return replace(PLAIN, **(unique | changes))


def entries(**changes):
    """300 acts, of which two were charged and three refused."""
    refused = {"decision": Decision.DENY, "outcome": Outcome.REFUSED, "recipients": ()}
    found = [entry(number, **changes) for number in range(300)]
    for number in (100, 200):
        paid = Charge("run-1", "model", (("people", "telecom", "police"),), Gaussian(0.8))
        found[number] = replace(found[number], charge=paid, recipients=("police",))
    for number in (7, 8, 9):
        found[number] = replace(found[number], policies=("no-case-no-look",), **refused)
    return found


class Hub:
    """A log on SQLite with one witness, exported after every batch."""

    def __init__(self, root):
        self.root = root
        self.signer = Signer.from_seed(ORIGIN, KeyKind.ED25519, b"l" * 32)
        self.witness = Signer.from_seed("police.example/witness", KeyKind.COSIGNATURE, b"w" * 32)
        known = Witness("police", self.witness.key)
        self.policy = Policy((KnownLog(self.signer.key),), (known,), (), "police")
        self.policy_file = root / "trusted.txt"
        self.policy_file.write_bytes(self.policy.encode())
        self.clock = FixedClock(NOW + 86_400)

    def cosign(self, note, prove):
        checkpoint = Checkpoint.parse(note.text)
        return [sign_checkpoint(checkpoint, self.witness, self.clock.now())]

    def open(self, name="log"):
        storage = SqlStorage.open(f"sqlite:///{self.root / name}.db")
        second = FileCheckpoints(self.root / f"{name}-second")
        log = Log(storage, second, self.signer, policy=self.policy, cosign=self.cosign,
                  clock=self.clock)  # fmt: skip
        return storage, log

    def export(self, batch, name="export", store="log"):
        storage, log = self.open(store)
        log._commit([draft_entry(item, None) for item in batch])
        log.checkpoint()
        export_log(storage, ORIGIN, self.root / name)
        storage.close()
        (self.root / name / "policy.txt").write_bytes(self.policy.encode())
        return self.root / name


@pytest.fixture
def hub(tmp_path):
    return Hub(tmp_path)


@pytest.fixture
def export(hub):
    return hub.export(entries())


def test_whole_log_holds_with_given_keys_and_with_its_own(hub, export):
    found = told("verify", export, "--policy", hub.policy_file)
    assert (found["holds"], found["fault"], found["keys"]) == (True, "", "given")
    assert (found["entries"], found["size"], found["missing"]) == (300, 300, 0)
    assert found["cosigned"] == {"police": NOW + 86_400}
    own = told("verify", export)
    assert own["keys"] == "of the export itself"
    text = run("verify", export)
    assert text.startswith("Holds: hub.example/audit/2026, 300 entries.")
    assert "compare them" in text
    assert hub.signer.key.format() in text
    assert "compare them" not in run("verify", export, "--policy", hub.policy_file)


def test_every_fault_ends_with_1_and_is_named(hub, export):
    bundle = export / "tile/entries/000"
    whole = bundle.read_bytes()
    bundle.write_bytes(whole.replace(b'"organisation":"insurer"', b'"organisation":"telecom"', 1))
    found = told("verify", export, "--policy", hub.policy_file, code=1)
    assert not found["holds"]
    assert found["fault"].endswith("first at entry 0")
    assert run("verify", export, code=1).startswith("DOES NOT HOLD: tile/0/000")
    bundle.write_bytes(whole)
    told("verify", export)
    stranger = Signer.from_seed(ORIGIN, KeyKind.ED25519, b"x" * 32)
    other = replace(hub.policy, logs=(KnownLog(stranger.key),))
    hub.policy_file.write_bytes(other.encode())
    assert "not signed" in told("verify", export, "--policy", hub.policy_file, code=1)["fault"]


def test_since_tells_growth_rollback_and_fork(hub, export):
    older = hub.root / "older.zip"
    run("export", export, "--out", older)
    grown = hub.export([entry(1_000 + at) for at in range(50)], "grown")
    assert told("verify", grown, "--since", older)["since"] == 300
    assert "extends" in run("verify", grown, "--since", older)
    assert told("verify", export, "--since", grown, code=1)["fault"].startswith("rollback")
    forked = hub.export([entry(2_000 + at) for at in range(400)], "forked", "other")
    assert told("verify", forked)["holds"]
    assert told("verify", forked, "--since", older, code=1)["fault"].startswith("fork")


def test_search_shows_what_fits(export):
    found = told("search", export, "--outcome", "refused")
    assert (found["found"], found["shown"]) == (3, 3)
    assert [item["sequence"] for item in found["entries"]] == [7, 8, 9]
    assert told("search", export, "--run", "run-1")["found"] == 2
    assert told("search", export, "--since", "2026-11-22T00:10+00:00")["found"] == 291
    assert told("search", export, "--until", "2026-11-22")["found"] == 0
    assert told("search", export, "--limit", 5)["shown"] == 5
    text = run("search", export, "--recipient", "police")
    assert "-> police" in text
    assert "2 entries fit." in text
    run("search", export, "--since", "yesterday", code=2)


def test_disclosures_and_statement(hub, export):
    found = told("disclosures", export, "--recipient", "police")["disclosures"]
    assert [(row["recipient"], row["acts"]) for row in found] == [("police", 2)]
    scopes = told("statement", export)["scopes"]
    assert [(row["recipient"], row["charges"], row["cap"]) for row in scopes] == [
        ("*", 2, None), ("police", 2, None),
    ]  # fmt: skip
    assert "2 charges of 1 runs" in run("statement", export)
    copy = hub.export([entry(5_000)], "copy")
    run("statement", export, copy, code=4)  # the same log again would count twice


def test_alarms_are_told_with_code_3(hub, export):
    found = told("alarms", export, code=3)
    assert {item["rule"] for item in found["alarms"]} == {"no-case", "enumeration-by-person-day"}
    assert "without a case" in run("alarms", export, code=3)
    rules = hub.root / "rules.json"
    one = {"id": "old", "kind": "backdated", "en": "Old.", "zh": "舊。", "among": {},
           "by": "organisation", "most_s": 60}  # fmt: skip
    rules.write_text(json.dumps({"format": "lianfang/exports/rules/v1", "rules": [one]}))
    assert told("alarms", export, "--rules", rules)["alarms"] == []
    rules.write_text("{}")
    run("alarms", export, "--rules", rules, code=4)


def test_packs_verify_search_and_refuse_to_be_packed_again(hub, export):
    pack = hub.root / "refused.zip"
    made = told("export", export, "--out", pack, "--outcome", "refused")
    assert (made["entries"], made["whole"], made["documents"]) == (3, False, [])
    found = told("verify", pack, "--policy", hub.policy_file)
    assert (found["holds"], found["selection"], found["entries"], found["missing"]) == (
        True, True, 3, 297,
    )  # fmt: skip
    assert "whole log alone" in run("verify", pack)
    assert told("search", pack)["found"] == 3
    run("export", export, "--out", pack, code=4)  # never overwrites
    run("export", pack, "--out", hub.root / "again.zip", code=4)
    whole = hub.root / "whole.zip"
    assert told("export", export, "--out", whole)["whole"]
    assert told("verify", whole, "--since", pack)["since"] == 300


def test_log_that_does_not_hold_is_not_packed(hub, export):
    (export / "tile/0/000").write_bytes(b"")
    run("export", export, "--out", hub.root / "pack.zip", code=1)
    assert not list(hub.root.glob("*.zip"))


def test_pack_of_a_node_has_agreements_and_policies(hub, ring, staffed):
    file = ring.root / "agreement.json"
    contracts = [
        item
        for party in ("police", "telecom")
        for item in ("--contract", f"{party}={ring.node(party) / 'contract.json'}")
    ]
    insurer = ring.node("insurer")
    run("agreement", "draft", insurer, file, "--hub", "lianfang.example", *contracts)
    staffed(*(ring.node(name) for name in ("insurer", "police", "telecom")))
    for name in ("insurer", "police", "telecom"):
        run("agreement", "sign", ring.node(name), file, "--yes", "--offline")
    ring.sign_as_hub(file)
    digest = told("agreement", "sign", insurer, file, "--yes", "--offline")["digest"]
    policies = AuditHome(Home(insurer)).policies().current().digest
    assert policies == shipped_policies().digest
    named = Agreement("joint-defence", bytes.fromhex(digest))
    made = [*entries(agreement=named, policy_set=policies), entry(999)]
    export = hub.export(made)
    pack = hub.root / "pack.zip"
    found = told("export", export, "--out", pack, "--node", insurer)
    assert found["absent"] == [f"agreements/{'61' * 32}", f"policies/{'70' * 32}"]
    with zipfile.ZipFile(pack) as archive:
        assert set(found["documents"]) <= set(archive.namelist())
    assert found["documents"][0] == f"agreements/{digest}.json"
    assert len(found["documents"]) == 3
    checked = told("verify", pack, "--policy", hub.policy_file)
    assert (checked["holds"], checked["documents"]) == (True, 3)
    assert checked["absent"] == found["absent"]
    assert "not here" in run("verify", pack)
    rows = told("statement", export, "--agreement", file, code=3)["scopes"]
    assert [(row["recipient"], row["over"]) for row in rows] == [("*", True), ("police", True)]
    assert "OVER THE CAP" in run("statement", export, "--agreement", file, code=3)


def test_what_is_missing_ends_with_code_4(hub, export):
    (export / "policy.txt").unlink()
    run("verify", export, code=4)
    run("verify", export, "--policy", hub.root / "none", code=4)
    run("verify", hub.root / "none", "--policy", hub.policy_file, code=4)
    run("verify", export, "--policy", hub.policy_file, "--since", hub.root / "none", code=4)
    run("search", hub.root / "none", code=4)
    run("export", export, "--out", hub.root / "x.zip", "--policy", hub.policy_file, "--node",
        hub.root / "none", code=4)  # fmt: skip
