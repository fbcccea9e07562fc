"""An agreement goes round between three nodes and the hub, by the commands that people use."""

import json
import time

import pytest
from typer.testing import CliRunner

from clients.audit.cli import app
from clients.audit.home import AuditHome
from clients.node.home import Home
from clients.office import node_office
from clients.output import explain
from compliance.agreement.coverage import Lookup
from compliance.agreement.profile import profile_digest, shipped_bytes
from compliance.agreement.signing import SignedAgreement, sign_agreement
from compliance.agreement.vocabulary import Channel, Role
from compliance.policy.actors import Facts, Organisation, Person, StaffRole
from compliance.policy.judge import Judge
from compliance.staff.staff import Staff
from protocols.tlog.entry import Entry


@pytest.fixture(autouse=True)
def _people(ring, staffed):
    """Approvers at every node; commands act as one of them, and another agrees."""
    staffed(*(ring.node(name) for name in ("insurer", "police", "telecom")))


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


def drafted(ring, name="agreement.json", *more):
    file = ring.root / name
    contracts = [
        item
        for party in ("police", "telecom")
        for item in ("--contract", f"{party}={ring.node(party) / 'contract.json'}")
    ]
    run("agreement", "draft", ring.node("insurer"), file, "--hub", "lianfang.example",
        *contracts, *more)  # fmt: skip
    return file


def signed_by_all(ring, file):
    for name in ("insurer", "police", "telecom"):
        run("agreement", "sign", ring.node(name), file, "--yes")
    ring.sign_as_hub(file)
    for name in ("insurer", "police", "telecom"):
        found = told("agreement", "sign", ring.node(name), file, "--yes")
        assert found["missing"] == []
    return found


def kept_by_all(ring, file):
    """Sign with all keys and keep it everywhere, for what is not about signing."""
    agreement = SignedAgreement.parse(file.read_bytes()).agreement
    homes = {name: AuditHome(Home(ring.node(name))) for name in ("insurer", "police", "telecom")}
    keys = {name: home.identity() for name, home in homes.items()} | {"hub": ring.hub}
    signatures = {name: sign_agreement(keys[name], agreement, name) for name in keys}
    for home in homes.values():
        home.agreements().keep(SignedAgreement(agreement, signatures), profile=shipped_bytes("tw"))


def judge_at(ring, name):
    home = AuditHome(Home(ring.node(name)))
    return Judge(home.agreements(), home.policies())


def test_it_goes_round_and_comes_into_force(ring):
    file = drafted(ring)
    assert told("agreement", "show", ring.node("police"), file)["state"] == "draft"
    first = told("agreement", "sign", ring.node("insurer"), file, "--yes")
    assert (first["state"], first["missing"]) == ("draft", ["hub", "police", "telecom"])
    assert signed_by_all(ring, file)["state"] == "in_force"
    shown = told("agreement", "show", ring.node("insurer"))
    assert (shown["state"], shown["kept"], shown["missing"]) == ("in_force", True, [])
    assert shown["agreement"] == SignedAgreement.parse(file.read_bytes()).agreement.format()


def test_show_speaks_both_languages(ring):
    file = drafted(ring)
    english = run("agreement", "show", ring.node("insurer"), file)
    assert "Who gives what to whom" in english
    assert "State: a draft" in english
    chinese = run("agreement", "show", ring.node("insurer"), file, "--lang", "zh")
    assert "資料流向與法律依據" in chinese
    assert "草案" in chinese


def test_nobody_signs_another_contract_than_its_own(ring):
    file = drafted(ring)
    path = ring.node("police") / "contract.json"
    path.write_text(path.read_text().replace('"high": 9', '"high": 10'))
    run("agreement", "sign", ring.node("police"), file, "--yes", code=4)


def test_nobody_signs_what_breaks_the_law_of_the_place(ring):
    file = drafted(ring)
    value = json.loads(file.read_text())
    value["agreement"]["retention"]["log_months"] = 12
    file.write_text(json.dumps(value))
    run("agreement", "sign", ring.node("insurer"), file, "--yes", code=4)


def test_a_tampered_file_is_refused(ring):
    file = drafted(ring)
    run("agreement", "sign", ring.node("insurer"), file, "--yes")
    value = json.loads(file.read_text())
    value["agreement"]["caps"]["run_epsilon"] = 2
    file.write_text(json.dumps(value))
    run("agreement", "sign", ring.node("police"), file, "--yes", code=4)
    assert not list((ring.node("police") / "agreements").glob("*.json"))


def test_show_does_not_believe_a_signature_that_does_not_hold(ring):
    file = drafted(ring)
    run("agreement", "sign", ring.node("insurer"), file, "--yes")
    value = json.loads(file.read_text())
    value["signatures"]["police"] = "00" * 64
    file.write_text(json.dumps(value))
    shown = told("agreement", "show", ring.node("telecom"), file)
    assert (shown["signed"], shown["unverified"]) == (["insurer"], ["police"])
    assert "do not hold here: police" in run("agreement", "show", ring.node("telecom"), file)


def test_asked_and_not_confirmed_nothing_is_signed(ring):
    file = drafted(ring)
    before = file.read_bytes()
    done = CliRunner().invoke(app, ["agreement", "sign", str(ring.node("insurer")), str(file)],
                              input="n\n")  # fmt: skip
    assert done.exit_code == 1
    assert file.read_bytes() == before


def entries_of(ring, name):
    with node_office(Home(ring.node(name))) as office:
        origin = office.yearly.origin()
        size = office.storage.edge(origin).size
        return [Entry.decode(data) for data in office.storage.entries(origin, 0, size)]


def test_a_program_alone_signs_nothing(ring, monkeypatch):
    file = drafted(ring)
    monkeypatch.delenv("LIANFANG_AS")
    monkeypatch.delenv("LIANFANG_SECOND")
    run("agreement", "sign", ring.node("insurer"), file, "--yes", code=3)
    assert "insurer" not in SignedAgreement.parse(file.read_bytes()).signatures
    assert not list((ring.node("insurer") / "agreements").glob("*.signature"))
    (entry,) = entries_of(ring, "insurer")
    assert (entry.act, entry.outcome.value) == ("sign_agreement", "refused")


def test_one_person_alone_asks_for_a_second_one(ring, monkeypatch):
    file = drafted(ring)
    monkeypatch.delenv("LIANFANG_SECOND")
    run("agreement", "sign", ring.node("insurer"), file, "--yes", code=3)
    assert not list((ring.node("insurer") / "agreements").glob("*.signature"))
    staff = Staff(ring.node("insurer"))
    (waiting,) = staff.consents.open(int(time.time()))
    assert waiting.what.startswith("sign agreement")
    staff.consents.agree(waiting.number, staff.find("eye"), now=int(time.time()))
    assert told("agreement", "sign", ring.node("insurer"), file, "--yes")["signed"] == ["insurer"]


def test_signing_and_revoking_are_entered_with_the_document(ring):
    file = drafted(ring)
    signed_by_all(ring, file)
    digest = bytes.fromhex(told("agreement", "show", ring.node("insurer"))["digest"])
    run("agreement", "revoke", ring.node("insurer"), "--reason", "breach", "--yes")
    found = [(e.act, e.outcome.value, e.document) for e in entries_of(ring, "insurer")]
    # Signing again, to take in what others signed, is no second act.
    assert found == [("sign_agreement", "done", digest), ("revoke_agreement", "done", digest)]


def test_without_a_hub_it_says_what_will_send_it(ring):
    file = drafted(ring)
    said = told("agreement", "sign", ring.node("insurer"), file, "--yes")
    assert said["sent"] is False
    assert "agreement sync" in said["next"]
    assert "sync" in run("agreement", "sign", ring.node("police"), file, "--yes", "--offline")
    found = told("agreement", "sync", ring.node("insurer"), code=1)
    assert (found["reached"], "node join" in found["detail"]) == (False, True)


def test_list_tells_every_version(ring):
    assert told("agreement", "list", ring.node("insurer"))["agreements"] == []
    file = drafted(ring)
    kept_by_all(ring, file)
    (found,) = told("agreement", "list", ring.node("insurer"))["agreements"]
    assert (found["state"], found["version"]) == ("in_force", 1)
    assert "in force" in run("agreement", "list", ring.node("insurer"))


def test_signing_by_the_first_digits_of_what_is_kept(ring):
    file = drafted(ring)
    digest = told("agreement", "sign", ring.node("insurer"), file, "--yes")["digest"]
    again = told("agreement", "sign", ring.node("insurer"), digest[:12], "--yes")
    assert again["signed"] == ["insurer"]


def test_nobody_signs_what_would_be_in_force_beside_another(ring):
    kept_by_all(ring, drafted(ring))
    rival = drafted(ring, "rival.json", "--days", "100")
    run("agreement", "sign", ring.node("insurer"), rival, "--yes", code=3)
    assert len(list((ring.node("insurer") / "agreements").glob("*.hub.signature"))) == 1


def test_a_profile_of_the_drafters_own_making_must_be_named(ring):
    file = drafted(ring)
    value = json.loads(file.read_text())
    lax = json.loads(shipped_bytes("tw"))
    lax["retention"] = []
    data = json.dumps(lax).encode()
    digest = profile_digest(data).hex()
    value["agreement"]["profile"]["digest"] = digest
    file.write_text(json.dumps(value))
    kept = ring.node("police") / "agreements" / "profiles" / f"{digest}.json"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(data)
    run("agreement", "sign", ring.node("police"), file, "--yes", code=4)
    run("agreement", "sign", ring.node("police"), file, "--yes", "--profile", digest[:12])


def test_diff_tells_what_changes_for_whom(ring):
    file = drafted(ring)
    kept_by_all(ring, file)
    digest = told("agreement", "show", ring.node("insurer"))["digest"]
    second = drafted(ring, "second.json", "--supersedes", digest[:12])
    value = json.loads(second.read_text())
    assert value["agreement"]["supersedes"] == digest
    value["agreement"]["askers"]["insurer"]["quota"] = 5
    second.write_text(json.dumps(value))
    found = told("agreement", "diff", ring.node("insurer"), digest[:8], second)
    quota = next(item for item in found["changes"] if item["whom"] == ["insurer"])
    assert (quota["before"], quota["after"], quota["direction"]) == ("100,000", "5", "less")
    assert "less" in run("agreement", "diff", ring.node("insurer"), digest[:8], second)
    same = run("agreement", "diff", ring.node("insurer"), digest, digest)
    assert "Nothing changes." in same


def test_one_party_ends_it_for_all(ring):
    kept_by_all(ring, drafted(ring))
    found = told("agreement", "revoke", ring.node("telecom"), "--reason", "breach", "--yes")
    assert found["state"] == "revoked"
    taken = told("agreement", "revoke", ring.node("insurer"), "--apply", found["file"])
    assert (taken["state"], taken["party"]) == ("revoked", "telecom")
    shown = told("agreement", "show", ring.node("insurer"))
    assert [item["reason"] for item in shown["revoked_by"]] == ["breach"]
    run("agreement", "revoke", ring.node("insurer"), "--yes", code=4)  # without a reason


@pytest.mark.parametrize(
    "arguments",
    [
        ("agreement", "show", "INSURER"),
        ("agreement", "show", "INSURER", "abcdef"),
        ("agreement", "show", "NOWHERE"),
        ("agreement", "sign", "INSURER", "none.json", "--yes"),
        ("agreement", "revoke", "INSURER", "--apply", "none.json"),
        ("agreement", "draft", "INSURER", "x.json", "--hub", "h.example", "--profile", "mars"),
        ("agreement", "draft", "INSURER", "x.json", "--hub", "h.example", "--role", "bank=police"),
        ("replay", "INSURER", "none.json"),
    ],
)
def test_what_is_missing_or_wrong_ends_with_code_4(ring, monkeypatch, arguments):
    monkeypatch.chdir(ring.root)
    places = {"INSURER": ring.node("insurer"), "NOWHERE": ring.root / "nowhere"}
    run(*(places.get(item, item) for item in arguments), code=4)


def test_a_draft_never_overwrites(ring):
    file = drafted(ring)
    run("agreement", "draft", ring.node("insurer"), file, "--hub", "h.example", code=4)


def test_replay_of_a_record_and_of_a_forged_one(ring):
    kept_by_all(ring, drafted(ring))
    insurer = Organisation("insurer", Role.INSURER)
    person = Person(bytes(16), insurer, frozenset({StaffRole.DESK}))
    digest = told("agreement", "show", ring.node("insurer"))["agreement"]
    decision = judge_at(ring, "insurer").decide(
        person, "check", insurer, Facts(10, channel="counter", case_present=True),
        now=digest["not_before"], question=Lookup("insurer", Channel.COUNTER),
    )  # fmt: skip
    record = ring.root / "record.json"
    record.write_bytes(decision.encode())
    found = told("replay", ring.node("insurer"), record)
    assert (found["same"], found["allowed"], found["policies"]) == (True, True, ["desk-checks"])
    assert "decide the same" in run("replay", ring.node("insurer"), record)
    record.write_bytes(decision.encode().replace(b'"case_present":true', b'"case_present":false'))
    forged = told("replay", ring.node("insurer"), record, code=1)
    assert not forged["same"]
    assert any("no-case-no-look" in difference for difference in forged["differences"])
    record.write_bytes(b"{}")
    run("replay", ring.node("insurer"), record, code=4)
