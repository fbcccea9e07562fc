"""`lianfang-hub agreement`: the hub writes the first draft, signs it, and can end it."""

import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from compliance.agreement.document import contract_reference
from compliance.agreement.signing import SignedAgreement, sign_agreement
from protocols.tlog.entry import Entry
from protocols.vertical.contract import Contract
from server.cli_agreement import app
from server.home import HubHome
from server.keeping.place import keeping_of
from server.log.opening import open_log
from server.office import agreements_of
from server.output import explain

PARTNERS = ("insurer", "police", "telecom")


@pytest.fixture
def hub(tmp_path, keys, staffed):
    """A hub that three partners have joined, and its staff."""
    made = HubHome(tmp_path / "hub")
    made.create(
        name="lianfang", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0,
        now=int(time.time()),
    )  # fmt: skip
    for name in PARTNERS:
        join(made, name, keys[name])
    staffed(made.root)
    return made


def join(hub, name, key):
    """Keep what `approve` keeps of a join request."""
    contract = {
        "identifier": {"column": "id", "kind": "opaque"},
        "label": "fraud" if name == "insurer" else None,
        "columns": [
            {"name": f"{name}-{item}", "kind": "numeric", "low": 0, "high": 9, "missing": False}
            for item in "ab"
        ],
    }
    kept = {
        "name": name, "identity": key.public_key().public_bytes_raw().hex(),
        "flower_public": "", "contract": contract,
    }  # fmt: skip
    keeping_of(hub.root).partners.keep(name, kept)


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"])
    ended = done.exit_code
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        ended = explain(done.exception)
    assert ended == code, done.output + done.stderr
    return json.loads(done.stdout) if done.stdout else None


def said(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments))).stdout


def store(hub):
    return agreements_of(hub)


def entries(hub):
    with open_log(hub) as log:
        origin = log.yearly.origin()
        size = log.storage.edge(origin).size
        return [Entry.decode(data) for data in log.storage.entries(origin, 0, size)]


def signed_by_partners(hub, digest, keys):
    agreement = store(hub).load(digest).agreement
    words = {name: sign_agreement(keys[name], agreement, name) for name in PARTNERS}
    store(hub).keep(SignedAgreement(agreement, words))
    return agreement


def test_one_command_drafts_between_all_with_all_columns(hub, tmp_path):
    file = tmp_path / "draft.json"
    made = run("draft", hub.root, file)
    agreement = SignedAgreement.parse(file.read_bytes()).agreement
    assert agreement.digest.hex() == made["digest"]
    assert agreement.names == ("hub", *PARTNERS)
    assert agreement.hub == "lianfang"
    for name in PARTNERS:
        assert agreement.contracts[name].columns == (f"{name}-a", f"{name}-b")
        kept = Contract.parse(hub.partner(name)["contract"])
        assert agreement.contracts[name] == contract_reference(kept)
    assert store(hub).digests() == ()
    run("draft", hub.root, file, code=4)
    run("draft", hub.root, tmp_path / "other.json", "--role", "bank=insurer", code=4)


def test_a_name_that_says_no_role_needs_one(hub, tmp_path):
    join(hub, "acme", Ed25519PrivateKey.generate())
    run("draft", hub.root, tmp_path / "draft.json", code=4)
    run("draft", hub.root, tmp_path / "draft.json", "--role", "acme=telecom")


def test_the_hub_signs_by_two_people_and_it_is_entered(hub, tmp_path, keys):
    file = tmp_path / "draft.json"
    digest = bytes.fromhex(run("draft", hub.root, file, "--publish")["digest"])
    assert store(hub).digests() == (digest,)
    assert run("list", hub.root)["agreements"][0]["state"] == "draft"
    found = run("sign", hub.root, digest.hex()[:12], "--yes")
    assert (found["signed"], found["missing"]) == (["hub"], list(PARTNERS))
    agreement = signed_by_partners(hub, digest, keys)
    assert store(hub).in_force(int(time.time())) == agreement
    assert run("show", hub.root)["state"] == "in_force"
    (entry,) = entries(hub)
    assert (entry.act, entry.document, entry.recipients) == ("sign_agreement", digest, PARTNERS)
    assert run("sign", hub.root, file, "--yes")["missing"] == []
    assert SignedAgreement.parse(file.read_bytes()).missing == ()
    assert len(entries(hub)) == 1
    second = run("draft", hub.root, tmp_path / "second.json", "--supersedes", digest.hex()[:12])
    assert second["version"] == 2


def test_the_hub_ends_it_at_once(hub, tmp_path, keys):
    digest = bytes.fromhex(run("draft", hub.root, tmp_path / "d.json", "--publish")["digest"])
    run("sign", hub.root, digest.hex()[:12], "--yes")
    signed_by_partners(hub, digest, keys)
    run("revoke", hub.root, "--yes", code=4)
    assert run("revoke", hub.root, "--yes", "--reason", "breach")["state"] == "revoked"
    assert store(hub).in_force(int(time.time())) is None
    assert [entry.act for entry in entries(hub)] == ["sign_agreement", "revoke_agreement"]
    assert "breach" in said("list", hub.root)


@pytest.mark.parametrize("missing", ["LIANFANG_AS", "LIANFANG_SECOND"])
def test_no_program_and_nobody_alone_signs(hub, tmp_path, monkeypatch, missing):
    run("draft", hub.root, tmp_path / "d.json", "--publish")
    monkeypatch.delenv(missing)
    if missing == "LIANFANG_AS":
        monkeypatch.delenv("LIANFANG_SECOND")
    run("sign", hub.root, tmp_path / "d.json", "--yes", code=3)
    kept = keeping_of(hub.root).documents("agreements").names()
    assert kept
    assert not [name for name in kept if name.endswith(".signature")]
    (entry,) = entries(hub)
    assert (entry.act, entry.outcome.value) == ("sign_agreement", "refused")


def test_show_speaks_both_languages(hub, tmp_path):
    file = tmp_path / "d.json"
    run("draft", hub.root, file)
    assert "Who gives what to whom" in said("show", hub.root, file)
    assert "資料流向與法律依據" in said("show", hub.root, file, "--lang", "zh")


def test_the_hub_signs_nothing_for_another_hub_or_stranger(hub, tmp_path, keys, agree):
    known = {name: keys[name] for name in PARTNERS} | {"hub": hub.identity_key()}
    stranger = Ed25519PrivateKey.generate()
    for number, agreed in enumerate(
        (agree(known, hub="elsewhere"), agree(known | {"police": stranger}, hub="lianfang"))
    ):
        file = tmp_path / f"{number}.json"
        file.write_bytes(agreed.by().format())
        run("sign", hub.root, file, "--yes", code=4)
    agree(known, hub="lianfang").keep(hub.root)
    rival = agree(known, hub="lianfang", quota=5)
    (tmp_path / "rival.json").write_bytes(rival.by().format())
    run("sign", hub.root, tmp_path / "rival.json", "--yes", code=3)
    assert store(hub).in_force(int(time.time()))


@pytest.mark.parametrize(
    "arguments",
    [("show", "HUB"), ("show", "HUB", "abcdef"), ("list", "NOWHERE"), ("sign", "HUB", "no.json"),
     ("revoke", "HUB", "--reason", "x"), ("draft", "HUB", "x.json", "--profile", "mars")],
)  # fmt: skip
def test_what_is_missing_or_wrong_ends_with_code_4_at_the_hub(
    hub, tmp_path, monkeypatch, arguments
):
    monkeypatch.chdir(tmp_path)
    places = {"HUB": hub.root, "NOWHERE": tmp_path / "nowhere"}
    run(*(places.get(item, item) for item in arguments), code=4)
