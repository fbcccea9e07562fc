"""Agreements reach every party over the hub; what the hub makes up does not."""

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import Response
from typer.testing import CliRunner

from clients.audit.cli import app
from clients.audit.syncing import publish_agreement, sync_agreements
from clients.keys import load_keys
from clients.lookup.https import HubRefusedError
from clients.node.home import Home
from clients.node.joining import keep_welcome, make_node, pin_peer
from clients.output import explain
from compliance.agreement.bundle import Bundle
from compliance.agreement.profile import shipped_bytes
from compliance.agreement.signing import SignedAgreement, sign_agreement
from compliance.agreement.store import AgreementStore, State
from compliance.clock import SystemClock
from compliance.errors import LogCorruptError
from compliance.files import write_atomically
from protocols.link import TransportError
from server.agreements.service import Agreements
from server.api.app import create_app
from server.api.running import ApiServer
from server.home import HubHome
from server.keeping.place import keeping_of
from server.keeping.shelves import FRESH_S
from server.office import PartnerKeys, agreements_of

PARTNERS = ("insurer", "police", "telecom")
CONTRACT = {
    "identifier": {"column": "id", "kind": "opaque"},
    "label": None,
    "columns": [{"name": "a", "kind": "numeric", "low": 0, "high": 9, "missing": False}],
}


@dataclass
class Parts:
    """What the routes of agreements take from the hub's parts."""

    hub: str
    agreements: Agreements
    identities: object


@dataclass
class Town:
    """A served hub with its directory, and three nodes that have joined it."""

    root: Path
    hub: HubHome
    keys: dict
    calls: list
    said: dict

    def home(self, name):
        return Home(self.root / name)

    def store(self, name):
        """What is kept at a node, or at the hub."""
        if name == "hub":
            return agreements_of(self.hub)
        folder = self.root / name / "agreements"
        return AgreementStore(folder, {who: key.public_key() for who, key in self.keys.items()})

    def sync(self, name):
        """Exchange, and count what was asked of the hub."""
        self.calls.clear()
        return sync_agreements(self.home(name))

    def sign(self, name, agreed):
        """Keep a party's own signature where it is, as `sign` does."""
        self.store(name).keep(agreed.by(name), profile=shipped_bytes("tw"))

    @contextmanager
    def lying(self, agreed, *, signed=None, revocations=()):
        """The hub says this, whatever it has."""
        digest = agreed.agreement.digest.hex()
        bundle = Bundle(signed or agreed.signed, tuple(revocations), shipped_bytes("tw"))
        listed = {
            "digest": digest,
            "signed": sorted(bundle.signed.signatures),
            "revoked_by": [word.party for word in revocations],
        }
        self.said["/v1/agreements"] = json.dumps({"agreements": [listed]}).encode()
        self.said[f"/v1/agreements/{digest}"] = bundle.encode()
        yield
        self.said.clear()

    def in_force(self, name):
        return self.store(name).in_force(int(time.time()))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A hub and three nodes, joined once; what they agree on is each test's own."""
    root = tmp_path_factory.mktemp("town")
    hub, now = HubHome(root / "hub"), int(time.time())
    settings = hub.create(
        name="lianfang", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=now
    )
    (root / "contract.json").write_text(json.dumps(CONTRACT))
    for name in PARTNERS:
        request = make_node(
            root / name, name=name, table=root / "t.csv", contract=root / "contract.json",
            held_out_column=None,
        )  # fmt: skip
        keep_welcome(root / name, hub.approve(json.loads(request.read_bytes()), now))
    keys = {name: load_keys(root / name / "keys").identity for name in PARTNERS}
    for name in PARTNERS:
        for other in PARTNERS:
            if other != name:
                public = keys[other].public_key().public_bytes_raw().hex()
                pin_peer(root / name, other, public)
    made, calls, said = create_app(None), [], {}

    @made.middleware("http")
    async def count(request, call_next):
        calls.append(f"{request.method} {request.url.path}")
        if request.url.path in said:
            return Response(said[request.url.path], media_type="application/json")
        return await call_next(request)

    server = ApiServer(made, hub="lianfang")
    names = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}
    files = {kind: hub.authority / file for kind, file in names.items()}
    server.start("127.0.0.1", settings.api_port, **files)
    yield Town(root, hub, keys | {"hub": hub.identity_key()}, calls, said), made
    server.stop()


@pytest.fixture
def town(world):
    """The same, where nobody has agreed to anything."""
    made, served = world
    made.said.clear()
    kept = keeping_of(made.hub.root).documents("agreements")
    for name in kept.names():
        kept.delete(name)
    time.sleep(FRESH_S)
    for name in PARTNERS:
        folder = made.root / name / "agreements"
        if folder.exists():
            folder.rename(made.root / f"{name}-{time.monotonic_ns()}")
        folder.mkdir(mode=0o700)
    pinned = PartnerKeys(made.hub)
    store = agreements_of(made.hub)
    served.state.parts = Parts("lianfang", Agreements(store, "lianfang", SystemClock()), pinned.get)
    return made


@pytest.fixture
def drafted(town, agree):
    return lambda **terms: agree(town.keys, **{"hub": "lianfang"} | terms)


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"])
    ended = done.exit_code
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        ended = explain(done.exception)
    assert ended == code, done.output + done.stderr
    return json.loads(done.stdout) if done.stdout else None


def test_it_reaches_everybody_and_comes_into_force(town, drafted):
    agreed = drafted()
    publish_agreement(town.home("insurer"), agreed.agreement, shipped_bytes("tw"))
    town.store("hub").keep(agreed.by("hub"))
    for name in PARTNERS:
        assert town.sync(name).fetched == (agreed.agreement.digest.hex(),)
        town.sign(name, agreed)
        assert town.sync(name).sent == (agreed.agreement.digest.hex(),)
    assert town.in_force("hub") == agreed.agreement
    for name in PARTNERS:
        town.sync(name)
        assert town.in_force(name) == agreed.agreement
        assert town.store(name).profile(agreed.agreement).id == "tw"


def test_nothing_new_costs_one_request_and_no_reading(town, drafted):
    agreed = drafted()
    agreed.keep(town.hub.root)
    assert town.sync("police").changed
    town.sync("police")
    before = (town.root / "police" / "agreements" / "hub" / "seen.json").stat().st_ino
    again = town.sync("police")
    assert (again.changed, again.reached) == (False, True)
    assert town.calls == ["GET /v1/agreements"]
    after = (town.root / "police" / "agreements" / "hub" / "seen.json").stat().st_ino
    assert before == after


def test_a_revocation_by_any_party_stops_all(town, drafted):
    agreed = drafted()
    agreed.keep(town.hub.root, *(town.root / name for name in PARTNERS))
    for name in PARTNERS:
        town.sync(name)
    now = int(time.time())
    town.store("telecom").keep_revocation(agreed.revocation("telecom", now=now), now=now)
    assert town.sync("telecom").sent == (agreed.agreement.digest.hex(),)
    assert town.in_force("hub") is None
    assert town.in_force("police") == agreed.agreement
    assert town.sync("police").fetched == (agreed.agreement.digest.hex(),)
    assert town.in_force("police") is None
    (word,) = town.store("police").revocations(agreed.agreement.digest)
    assert (word.party, word.reason) == ("telecom", "breach")
    assert f"{agreed.agreement.digest.hex()}.telecom.revocation" in noted(town, "police")


def noted(town, name):
    """Return the documents of which a party, or the hub, noted when it kept them."""
    shelf = town.store(name).shelf
    return {item.removeprefix("kept/") for item in shelf.names("kept")}


def test_it_is_noted_when_a_signature_was_kept(town, drafted):
    agreed = drafted()
    town.sign("insurer", agreed)
    for name in ("insurer", "police"):
        town.sync(name)
    signature = f"{agreed.agreement.digest.hex()}.insurer.signature"
    assert signature in noted(town, "hub")
    assert signature in noted(town, "police")


def test_a_hub_that_is_away_is_told_and_nothing_is_lost(town, drafted, tmp_path):
    home = town.home("insurer")
    path = home.root / "node.json"
    value = path.read_bytes()
    agreed = drafted()
    town.sign("insurer", agreed)
    for address in ("127.0.0.1:1", ""):
        changed = json.loads(value)
        changed["hub"]["api"] = address
        write_atomically(path, json.dumps(changed).encode())
        found = sync_agreements(home)
        assert not found.reached
        assert found.why_not(agreed.agreement.digest)
        with pytest.raises(TransportError):
            publish_agreement(home, agreed.agreement, shipped_bytes("tw"))
    write_atomically(path, value)
    assert town.sync("insurer").sent == (agreed.agreement.digest.hex(),)
    assert town.store("hub").state(agreed.agreement.digest, int(time.time())) is State.DRAFT


def test_what_a_node_has_not_signed_stays_with_it(town, drafted):
    agreed = drafted()
    town.store("insurer").keep(agreed.by(), profile=shipped_bytes("tw"))
    assert not town.sync("insurer").changed
    assert town.store("hub").digests() == ()


def test_signatures_of_a_file_that_went_round_are_sent_with_ours(town, drafted):
    agreed = drafted()
    agreed.keep(town.root / "insurer")
    town.sync("insurer")
    assert town.in_force("hub") == agreed.agreement


def test_the_hub_cannot_make_up_a_party(town, agree):
    """A document between keys that the node never pinned, signed by all of them."""
    forged = agree(
        {name: Ed25519PrivateKey.generate() for name in ("hub", *PARTNERS)}, hub="lianfang"
    )
    mixed = agree(town.keys | {"police": Ed25519PrivateKey.generate()}, hub="lianfang")
    own = agree({name: town.keys[name] for name in ("hub", "insurer", "police")}, hub="lianfang")
    for agreed in (forged, mixed):
        for signed in (agreed.signed, agreed.by()):
            with town.lying(agreed, signed=signed):
                (refused,) = town.sync("telecom").refused
            assert refused[0] == agreed.agreement.digest.hex()
    with town.lying(own):
        ((_, why),) = town.sync("telecom").refused
    assert "no party" in why
    assert town.store("telecom").digests() == ()


def test_an_agreement_of_another_hub_is_left_out(town, drafted):
    with town.lying(drafted(hub="elsewhere")):
        ((_, why),) = town.sync("police").refused
    assert "elsewhere" in why
    assert town.store("police").digests() == ()


def test_a_forged_signature_is_left_out(town, drafted):
    agreed = drafted()
    forged = {**agreed.signed.signatures, "telecom": bytes(64)}
    with town.lying(agreed, signed=SignedAgreement(agreed.agreement, forged)):
        ((_, why),) = town.sync("police").refused
    assert "telecom" in why
    assert town.in_force("police") is None


def test_a_forged_revocation_ends_nothing(town, drafted):
    agreed = drafted()
    agreed.keep(town.root / "police")
    word = replace(agreed.revocation("telecom", now=int(time.time())), party="insurer")
    with town.lying(agreed, revocations=(word,)):
        ((_, _why),) = town.sync("police").refused
    assert town.in_force("police") == agreed.agreement


def test_an_unpinned_peer_is_named_and_taken_once_it_is_pinned(town, drafted):
    agreed = drafted()
    agreed.keep(town.hub.root)
    path = town.root / "police" / "node.json"
    value = json.loads(path.read_bytes())
    key = value["peers"].pop("telecom")
    write_atomically(path, json.dumps(value).encode())
    ((_, why),) = town.sync("police").refused
    assert "telecom" in why
    assert town.sync("police").refused  # told again, at no further cost
    assert town.calls == ["GET /v1/agreements"]
    pin_peer(town.root / "police", "telecom", key)
    assert town.sync("police").fetched == (agreed.agreement.digest.hex(),)
    assert town.in_force("police") == agreed.agreement


def test_old_versions_that_are_shown_again_do_not_return(town, drafted):
    first = drafted()
    second = drafted(former=first.agreement, quota=5)
    third = drafted(former=second.agreement, quota=6)
    third.keep(town.root / "police")
    with town.lying(first):
        town.sync("police")
    assert town.in_force("police") == third.agreement


def test_two_in_force_are_refused_and_not_chosen_from(town, drafted):
    first, rival = drafted(), drafted(quota=5)
    first.keep(town.hub.root, town.root / "police")
    town.sign("police", rival)
    found = town.sync("police")
    assert "in force beside" in found.why_not(rival.agreement.digest)
    assert town.in_force("police") == town.in_force("hub") == first.agreement


def test_own_damage_is_an_error_and_not_a_matter_of_the_hub(town, drafted):
    agreed = drafted()
    agreed.keep(town.hub.root, town.root / "police")
    town.sync("police")
    next((town.root / "police" / "agreements").glob("*.hub.signature")).write_text("00" * 64)
    with pytest.raises(LogCorruptError):
        town.sync("police")


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b"[]", b'{"agreements":5}', b'{"agreements":[5]}', b"[" * 100_000,
     b'{"agreements":[{"digest":"00","signed":[],"revoked_by":[]}]}', b" " * ((1 << 20) + 1)],
)  # fmt: skip
def test_lists_that_say_nothing_fail_in_one_way(town, answer):
    town.said["/v1/agreements"] = answer
    found = town.sync("police")
    assert not found.reached
    assert found.detail


def test_a_draft_that_the_hub_refuses_is_told(town, drafted):
    with pytest.raises(HubRefusedError, match="hub"):
        publish_agreement(
            town.home("police"), drafted(hub="elsewhere").agreement, shipped_bytes("tw")
        )


def test_sign_and_revoke_send_at_once_by_the_commands(town, staffed):
    staffed(*(town.root / name for name in PARTNERS))
    insurer, file = town.root / "insurer", town.root / f"draft-{time.monotonic_ns()}.json"
    contracts = [
        item for name in ("police", "telecom")
        for item in ("--contract", f"{name}={town.root / 'contract.json'}")
    ]  # fmt: skip
    made = run("agreement", "draft", insurer, file, "--hub", "lianfang", "--publish", *contracts)
    assert made["published"]
    digest = made["digest"]
    agreement = town.store("hub").load(bytes.fromhex(digest)).agreement
    own = sign_agreement(town.keys["hub"], agreement, "hub")
    town.store("hub").keep(SignedAgreement(agreement, {"hub": own}))
    for name in PARTNERS:
        assert run("agreement", "sync", town.root / name)["fetched"] == [digest]
        found = run("agreement", "sign", town.root / name, digest[:12], "--yes")
        assert found["sent"]
    assert (found["missing"], found["state"]) == ([], "in_force")
    offline = run(
        "agreement", "revoke", insurer, digest[:12], "--reason", "over", "--yes", "--offline"
    )
    assert (offline["sent"], town.in_force("hub")) == (False, agreement)
    assert run("agreement", "sync", insurer)["sent"] == [digest]
    assert town.in_force("hub") is None
    assert run("agreement", "sync", town.root / "police")["fetched"] == [digest]
    (listed,) = run("agreement", "list", town.root / "police")["agreements"]
    assert (listed["state"], listed["revoked_by"][0]["party"]) == ("revoked", "insurer")
