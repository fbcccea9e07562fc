"""Coming in over the API: codes that count and all that do not, renewal, and being shut out."""

import json
import sqlite3
import time
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from clients.keys import certificate_request, create_keys
from protocols.enrolment.words import hash_secret, prove_asking, sign_join, sign_renewal
from protocols.tlog.entry import Verb
from server.enrolment.invitations import Invitations
from server.enrolment.rates import Rate, Rates
from server.identity.peer import serial_number
from server.keeping.place import keeping_of
from server.keeping.shelves import FRESH_S

HUB = "lianfang"
CONTRACT = {
    "identifier": {"column": "id", "kind": "opaque"},
    "label": None,
    "columns": [{"name": "calls", "kind": "numeric", "low": 0, "high": 9, "missing": False}],
}
SECRET = bytes(range(16))
HOUR = 3600


class Site:
    """A partner that wants to come in."""

    def __init__(self, directory, name="bank"):
        self.keys = create_keys(directory)
        public = self.keys.flower.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.request = {
            "name": name,
            "tls_request": certificate_request(self.keys, name).decode(),
            "identity": self.keys.identity.public_key().public_bytes_raw().hex(),
            "flower_public": pem.decode(),
            "contract": CONTRACT,
        }

    def body(self, secret=SECRET, hub=HUB, request=None, key=None):
        request = request or self.request
        word = sign_join(key or self.keys.identity, hub, secret, request)
        return {"secret": secret.hex(), "request": request, "signature": word.hex()}

    def proof(self, number, now=None, hub=HUB):
        return prove_asking(self.keys.identity, hub, number, now or int(time.time()))


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path / "bank")


@pytest.fixture
def invited(world):
    """The number of an invitation of a bank, for an hour."""
    made = Invitations(world.home.root).make("bank", SECRET, now=world.clock.now(), lasts_s=HOUR)
    return made.number


def join(world, body):
    return world.client().post("/v1/enrolment", json=body)


def ask(world, number, proof):
    return world.client().get(f"/v1/enrolment/{number}", headers={"Lianfang-Proof": proof})


def test_authority_is_told_to_anybody(world):
    found = world.client().get("/v1/enrolment").json()
    assert found == {"hub": HUB, "authority": (world.home.authority / "ca.crt").read_text()}


def test_request_waits_and_the_welcome_is_for_its_key(world, invited, site, tmp_path):
    answer = join(world, site.body())
    assert (answer.status_code, answer.json()) == (202, {"number": invited})
    entry = world.entries()[-1]
    assert (entry.act, entry.verb, entry.recipients) == ("join", Verb.ALTER, ("bank",))
    waiting = {"state": "waiting", "welcome": None, "reason": None}
    assert ask(world, invited, site.proof(invited)).json() == waiting
    welcome = world.home.approve(site.request, world.clock.now())
    Invitations(world.home.root).answer(invited, welcome)
    assert ask(world, invited, site.proof(invited)).json() == {
        "state": "approved",
        "welcome": welcome,
        "reason": None,
    }
    other = Site(tmp_path / "other")
    refused = [
        ask(world, invited, other.proof(invited)),
        ask(world, invited, site.proof(invited, now=world.clock.now() - 901)),
        ask(world, invited, site.proof(invited, hub="other-hub")),
        ask(world, invited, site.proof("ab" * 16)),
        ask(world, "ab" * 16, site.proof("ab" * 16)),
    ]
    assert {answer.status_code for answer in refused} == {404}
    assert len({answer.content for answer in refused}) == 1


def test_code_counts_once_and_its_user_may_repeat(world, invited, site, tmp_path):
    assert join(world, site.body()).status_code == 202
    entries = len(world.entries())
    assert join(world, site.body()).json() == {"number": invited}
    second = join(world, Site(tmp_path / "second").body())
    assert second.json()["code"] == "enrolment_refused"
    assert Invitations(world.home.root).request(invited) == site.request
    assert len(world.entries()) == entries
    world.clock.advance(2 * HOUR)
    assert join(world, site.body()).status_code == 202


def test_every_code_that_does_not_count_gets_the_same_bytes(world, invited, tmp_path):
    site = Site(tmp_path / "bank")
    past = Invitations(world.home.root)
    old = bytes([1]) * 16
    past.make("bank", old, now=world.clock.now() - 2 * HOUR, lasts_s=HOUR)
    used = bytes([2]) * 16
    number = past.make("bank", used, now=world.clock.now(), lasts_s=HOUR).number
    past.take(number, {"name": "somebody else"})
    refused = [
        join(world, site.body(bytes([3]) * 16)),  # a guess, or the code of another hub
        join(world, site.body(old)),
        join(world, site.body(used)),
        join(world, Site(tmp_path / "shop", "shop").body()),
    ]
    assert {answer.status_code for answer in refused} == {403}
    assert len({answer.content for answer in refused}) == 1
    assert refused[0].json()["type"] == "urn:lianfang:problem:enrolment_refused"
    assert past.request(invited) is None


def test_request_is_signed_by_the_identity_that_it_names(world, invited, site, problem):
    changed = site.request | {"contract": CONTRACT | {"label": "y"}}
    for body in (
        site.body(key=Ed25519PrivateKey.generate()),
        site.body(hub="other-hub"),
        site.body() | {"request": changed},
        site.body(bytes([9]) * 16) | {"secret": SECRET.hex()},
    ):
        problem(join(world, body), 422, "invalid_proof")
    assert Invitations(world.home.root).request(invited) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b.pop("secret"),
        lambda b: b.update(more=1),
        lambda b: b.update(secret=7),
        lambda b: b.update(secret="00"),
        lambda b: b.update(signature="zz"),
        lambda b: b.update(request=[]),
        lambda b: b["request"].update(name="../x"),
        lambda b: b["request"].update(identity="00"),
        lambda b: b["request"].update(tls_request="no request"),
        lambda b: b["request"].update(flower_public="no key"),
        lambda b: b["request"].update(contract={}),
    ],
)
def test_malformed_request_is_told_whatever_its_code(world, site, change, problem):
    body = json.loads(json.dumps(site.body()))
    change(body)
    problem(join(world, body), 400, "malformed_message")
    assert not (world.home.root / "enrolment").exists()


def test_size_and_kind_of_a_request_are_bounded(world, problem):
    large = world.client().post(
        "/v1/enrolment", content=b"x" * (257 << 10), headers={"Content-Type": "application/json"}
    )
    problem(large, 413, "body_too_large")
    problem(world.client().post("/v1/enrolment", content=b"{}"), 415, "media_type")


def test_guesses_are_few(world, site, problem):
    answers = [join(world, site.body(bytes([n]) * 16)) for n in range(12)]
    assert [answer.status_code for answer in answers] == [403] * 10 + [429] * 2
    problem(answers[-1], 429, "too_many_requests")
    assert int(answers[-1].headers["retry-after"]) > 0
    # Whoever has a certificate is served on.
    assert world.client("police").get("/v1/epochs/current").status_code == 200


def test_buckets_fill_again_and_one_caller_leaves_room_for_others():
    now = [0.0]
    rates = Rates(Rate(2, 6), Rate(3, 60), clock=lambda: now[0])
    assert [rates.allows("a") for _ in range(3)] == [True, True, False]
    assert [rates.allows("b") for _ in range(2)] == [True, False]
    now[0] += 10
    assert [rates.allows("a") for _ in range(2)] == [True, False]


def test_secret_is_kept_nowhere(world, invited, site):
    join(world, site.body())
    kept = b"".join(path.read_bytes() for path in world.home.root.rglob("*") if path.is_file())
    assert SECRET not in kept
    assert SECRET.hex().encode() not in kept
    assert hash_secret(SECRET).hex().encode() in kept


def renewal(world, site, *, name="police", key=None, serial=None, request=None):
    pem = world.shop.credentials[name][0].read_bytes()
    request = request or certificate_request(site.keys, name)
    word = sign_renewal(
        key or world.identities[name],
        HUB,
        name,
        serial=serial_number(pem) if serial is None else serial,
        request=request,
    )
    body = {"tls_request": request.decode(), "signature": word.hex()}
    return world.client(name).post("/v1/certificate", json=body)


def test_certificate_is_renewed_entered_and_let_in(world, site):
    answer = renewal(world, site)
    assert answer.status_code == 200
    entry = world.entries()[-1]
    assert (entry.act, entry.organisation, entry.recipients) == ("join", "police", ("police",))
    key = site.keys.tls.private_bytes(Encoding.PEM, *plain())
    fresh = world.shop.keep(answer.json()["certificate"].encode(), key)
    assert world.client(credentials=fresh).get("/v1/epochs/current").status_code == 200
    assert world.client("police").get("/v1/epochs/current").status_code == 200


def plain():
    return PrivateFormat.PKCS8, NoEncryption()


def test_stolen_certificate_renews_nothing_without_the_identity_key(world, site, problem):
    before = len(world.entries())
    for changes in (
        {"key": Ed25519PrivateKey.generate()},
        {"key": world.identities["telecom"]},
        {"serial": 1},
    ):
        problem(renewal(world, site, **changes), 422, "invalid_proof")
    problem(renewal(world, site, request=b"no request"), 400, "malformed_message")
    assert not (world.home.authority / "issued.jsonl").exists()
    assert len(world.entries()) == before


def test_renewal_needs_a_certificate_and_has_a_rate(world, site, problem):
    problem(world.client().post("/v1/certificate", json={}), 403, "certificate_required")
    for _ in range(5):
        assert renewal(world, site).status_code == 200
    problem(renewal(world, site), 429, "too_many_requests")


def test_revoked_partner_is_told_so_on_every_route_at_once(world, site, problem):
    client = world.client("police")
    assert client.get("/v1/epochs/current").status_code == 200
    world.home.revoke("police", world.clock.now(), enter=lambda _: None)
    for route in ("/v1/epochs/current", "/v1/quota", "/openapi.json", "/healthz", "/no/such"):
        answer = client.get(route)
        problem(answer, 403, "partner_revoked")
        assert answer.headers["x-request-id"]
    problem(renewal(world, site), 403, "partner_revoked")
    assert world.client("telecom").get("/v1/epochs/current").status_code == 200
    # Health is for everybody who shows no certificate.
    assert world.client().get("/healthz").status_code == 200


def test_renewed_certificate_of_a_revoked_partner_counts_no_more(world, site, problem):
    answer = renewal(world, site)
    key = site.keys.tls.private_bytes(Encoding.PEM, *plain())
    fresh = world.shop.keep(answer.json()["certificate"].encode(), key)
    world.home.revoke("police", world.clock.now())
    keeping_of(world.home.root).documents("partners").delete("police.json")
    time.sleep(FRESH_S)
    # Without what it handed in it is still known by the number of its certificate.
    problem(world.client(credentials=fresh).get("/v1/quota"), 403, "partner_revoked")


def test_nobody_is_served_by_name_while_revocations_cannot_be_read(world, problem):
    keeping_of(world.home.root).shelf("partners").put("police.json", b"{")
    problem(world.client("police").get("/v1/epochs/current"), 500, "internal_error")
    assert world.client("telecom").get("/v1/epochs/current").status_code == 200


def test_hub_that_takes_nobody_in_says_so(world, site, problem):
    world.served.app.state.parts = replace(world.parts, enrolment=None)
    problem(join(world, site.body()), 503, "not_ready")


def test_nobody_is_served_while_the_database_is_away(world, problem):
    """Tables of what is revoked are gone: whoever asks is told to come again, and not let in."""
    assert world.client("police").get("/v1/epochs/current").status_code == 200
    connection = sqlite3.connect(world.home.root / "state.sqlite")
    connection.execute("ALTER TABLE state_folder RENAME TO gone")
    connection.commit()
    connection.close()
    time.sleep(FRESH_S)
    problem(world.client("police").get("/v1/epochs/current"), 503, "storage_failed")
