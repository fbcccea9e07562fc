"""Joining by a code at a real API: the right hub, wrong hubs, somebody between, and renewal."""

import os
import shutil
import socket
import time
from dataclasses import dataclass, replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from fastapi import FastAPI
from starlette.requests import Request

from clients.keys import (
    KeyStoreError,
    create_keys,
    credentials,
    load_keys,
    next_request,
    store_renewal,
)
from clients.lookup.https import HubRefusedError
from clients.node import enrolling
from clients.node.enrolling import RejectedError, StillWaitingError, join_by_code
from clients.node.home import Home
from clients.node.joining import keep_welcome
from clients.node.renewing import Renewal, is_due, load_certificate, renew, renew_if_due
from clients.output import explain
from compliance.clock import FixedClock, SystemClock
from compliance.configuration import ConfigError
from compliance.exits import Exit
from protocols.enrolment.code import InvitationCode
from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from server.api.app import create_app
from server.api.running import ApiServer
from server.enrolment.invitations import Invitations
from server.enrolment.service import Enrolment
from server.epochs.holding import identities_of
from server.home import HubHome
from server.identity import create_authority, issue_server
from server.identity.authority import load_authority
from server.log.opening import open_log

HUB = "hub.test"
DAY = 86_400


@dataclass
class Parts:
    """What the routes of enrolment work with."""

    hub: str
    enrolment: Enrolment
    identities: object


@dataclass
class Place:
    """A hub whose API is served."""

    home: HubHome
    log: object
    server: ApiServer

    @property
    def address(self):
        settings = self.home.settings()
        return f"127.0.0.1:{settings.api_port}"

    def code(self, name="telecom", secret=None, now=None, **changes):
        secret = secret or os.urandom(16)
        now = int(time.time()) if now is None else now
        Invitations(self.home.root).make(name, secret, now=now, lasts_s=3600)
        certificate = load_authority(self.home.authority).certificate
        made = InvitationCode(self.address, HUB, certificate.fingerprint(SHA256()), secret)
        return replace(made, **changes).format()

    def approve(self, name):
        invitations = Invitations(self.home.root)
        number = invitations.waiting()[name]
        request = invitations.request(number)
        invitations.answer(number, self.home.approve(request, int(time.time())))


@pytest.fixture
def place(tmp_path):
    home = HubHome(tmp_path / "hub")
    home.create(
        name=HUB, host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=int(time.time())
    )
    log = open_log(home)
    parts = Parts(HUB, Enrolment(home, log.office, clock=SystemClock()), identities_of(home))
    server = serve(create_app(parts), home.authority, home.settings().api_port)
    yield Place(home, log, server)
    server.stop()
    log.close()


def serve(app, authority, port=0):
    server = ApiServer(app, hub=HUB)
    names = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}
    server.port = server.start(
        "127.0.0.1", port, **{name: authority / file for name, file in names.items()}
    )
    return server


def approving(place, name="telecom"):
    """Stand in for the pause between two questions: meanwhile people at the hub decide."""
    return lambda _: place.approve(name)


def test_node_joins_by_a_code(town, place):
    node, heard = town.node("telecom"), []
    hub = join_by_code(
        node, place.code().lower(), wait_s=30, say=heard.append, sleep=approving(place)
    )
    assert hub == HUB
    config = Home(node).config()
    assert config.api == place.address
    assert config.hub_identity == place.home.identity_key().public_key().public_bytes_raw().hex()
    assert len(heard) == 1
    assert place.home.partner("telecom")["identity"] == town.requests["telecom"]["identity"]


def test_joining_may_be_broken_off_and_repeated_with_the_same_code(town, place):
    node, code = town.node("telecom"), place.code()
    for _ in range(2):
        with pytest.raises(StillWaitingError, match="repeat this command"):
            join_by_code(node, code, wait_s=0)
    place.approve("telecom")
    assert join_by_code(node, code, wait_s=0) == HUB
    assert join_by_code(node, code, wait_s=0) == HUB


def test_two_nodes_with_one_code_and_one_comes_in(town, place, tmp_path):
    code = place.code()
    second = tmp_path / "second"
    shutil.copytree(town.node("telecom"), second)
    for path in (second / "keys").iterdir():
        path.unlink()
    create_keys(second / "keys")
    with pytest.raises(StillWaitingError):
        join_by_code(town.node("telecom"), code, wait_s=0)
    with pytest.raises(HubRefusedError, match="enrolment_refused"):
        join_by_code(second, code, wait_s=0)
    place.approve("telecom")
    assert join_by_code(town.node("telecom"), code, wait_s=0) == HUB


def test_rejected_node_is_told_why_and_changes_nothing(town, place):
    node, code, before = town.node("telecom"), place.code(), town.files("telecom")

    def turn_down(_):
        invitations = Invitations(place.home.root)
        number = invitations.waiting()["telecom"]
        invitations.answer(number, {"rejected": "the key \x1b[2J differs", "at": 1})

    for _ in range(2):
        with pytest.raises(RejectedError, match="rejected the request: the key ") as caught:
            join_by_code(node, code, wait_s=30, sleep=turn_down)
        assert str(caught.value).isprintable()
        assert explain(caught.value) is Exit.REFUSED
    assert town.files("telecom") == before
    assert place.home.partners() == {}


def test_codes_that_do_not_count_change_nothing(town, place):
    before = town.files("telecom")
    old = place.code(now=int(time.time()) - 7200)
    foreign = place.code(name="police")
    for code in (old, foreign):
        with pytest.raises(HubRefusedError, match="enrolment_refused"):
            join_by_code(town.node("telecom"), code, wait_s=0)
    with pytest.raises(MalformedMessageError, match="typed wrongly"):
        join_by_code(town.node("telecom"), place.code()[:-1], wait_s=0)
    assert town.files("telecom") == before


def recording(hub, authority):
    """A server in the hub's place; notes what reaches it."""
    app, seen = FastAPI(), []

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def anything(request: Request):
        seen.append((request.method, request.url.path, await request.body()))
        return {"hub": hub, "authority": authority, "number": "ab" * 16}

    return app, seen


def impostor(tmp_path):
    """An authority of the same name, and a server certificate for the same address."""
    folder = tmp_path / "impostor"
    authority = create_authority(folder, HUB, int(time.time()))
    issue_server(authority, folder, ["127.0.0.1"], int(time.time()))
    return folder


def test_another_hub_behind_the_address_is_told_nothing(town, place, tmp_path):
    folder = impostor(tmp_path)
    app, seen = recording(HUB, (folder / "ca.crt").read_text())
    server = serve(app, folder)
    try:
        with pytest.raises(ConfigError, match="is not the hub of this code; nothing was sent"):
            join_by_code(town.node("telecom"), place.code(api=f"127.0.0.1:{server.port}"), wait_s=0)
    finally:
        server.stop()
    assert seen == [("GET", "/v1/enrolment", b"")]


def test_somebody_between_who_shows_the_true_authority_is_told_nothing(town, place, tmp_path):
    folder = impostor(tmp_path)
    app, seen = recording(HUB, (place.home.authority / "ca.crt").read_text())
    server = serve(app, folder)
    try:
        with pytest.raises(TransportError, match="is not the one of the code") as caught:
            join_by_code(town.node("telecom"), place.code(api=f"127.0.0.1:{server.port}"), wait_s=0)
    finally:
        server.stop()
    assert not caught.value.retryable
    assert seen == [("GET", "/v1/enrolment", b"")]


@pytest.mark.parametrize("change", [{"hub": "other"}, {"authority": None}, {"authority": "x"}])
def test_welcome_of_another_hub_is_not_kept(place, town, tmp_path, change):
    code = InvitationCode.parse(place.code())
    authority = enrolling.fetch_authority(code)
    other = (impostor(tmp_path) / "ca.crt").read_text()
    for welcome in (
        {"hub": HUB, "authority": authority} | change,
        {"hub": HUB, "authority": other},
    ):
        with pytest.raises((ConfigError, MalformedMessageError), match=r"^welcome: "):
            enrolling._checked(welcome, code, authority)


def test_hub_that_is_away_is_told_as_such(town, place):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        code = place.code(api=f"127.0.0.1:{probe.getsockname()[1]}")
        with pytest.raises(TransportError, match="cannot be reached") as caught:
            join_by_code(town.node("telecom"), code, wait_s=0)
    assert caught.value.retryable


@pytest.fixture
def joined(town, place):
    """A node that has joined; its certificate is of today."""
    keep_welcome(
        town.node("telecom"), place.home.approve(town.requests["telecom"], int(time.time()))
    )
    return town.node("telecom")


def test_renewal_brings_a_new_key_and_keeps_the_identity(joined, place):
    home = Home(joined)
    before, keys = load_certificate(home), load_keys(home.keys)
    made = renew(joined)
    after = load_keys(home.keys)
    assert made.serial_number != before.serial_number
    assert made.public_key() == after.tls.public_key() != keys.tls.public_key()
    assert after.identity.public_key() == keys.identity.public_key()
    assert after.flower.public_key() == keys.flower.public_key()
    assert not list(home.keys.glob("tls-next*"))
    assert renew(joined).serial_number != made.serial_number


def test_certificate_is_renewed_when_a_third_is_left(joined, place):
    home = Home(joined)
    made = load_certificate(home)
    now = int(time.time())
    assert not is_due(made, now + 260 * DAY)
    assert is_due(made, now + 270 * DAY)
    assert not renew_if_due(joined, now)
    assert renew_if_due(joined, now + 270 * DAY)


def test_running_node_renews_by_itself_and_a_silent_hub_does_not_end_it(joined, place, caplog):
    before = load_certificate(Home(joined)).serial_number
    due = FixedClock(int(time.time()) + 300 * DAY)
    with Renewal(joined, clock=due):
        wait_until(lambda: load_certificate(Home(joined)).serial_number != before)
    place.server.stop()
    with caplog.at_level("WARNING"), Renewal(joined, clock=due):
        wait_until(lambda: "could not be renewed" in caplog.text, 20)


def wait_until(condition, timeout_s=10):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def test_stolen_certificate_alone_renews_nothing(joined, place, tmp_path):
    thief = tmp_path / "thief"
    shutil.copytree(joined, thief)
    (thief / "keys" / "identity.key").unlink()
    create_keys(thief / "keys")
    with pytest.raises(HubRefusedError, match="invalid_proof"):
        renew(thief)


def test_revoked_node_renews_nothing(joined, place):
    place.home.revoke("telecom", int(time.time()))
    with pytest.raises(HubRefusedError, match="partner_revoked"):
        renew(joined)


@pytest.mark.parametrize("moved", [(), ("tls-next.key",)])
def test_renewal_that_a_crash_broke_off_is_finished(joined, place, tmp_path, moved):
    keys = Home(joined).keys
    kept = tmp_path / "kept"
    shutil.copytree(keys, kept)
    renew(joined)
    for name in ("tls.key", "tls.pem"):
        new = name.replace("tls", "tls-next")
        (keys / name).replace(keys / (name if new in moved else new))
        if new not in moved:
            shutil.copy(kept / name, keys / name)
    made = load_certificate(Home(joined))
    assert made.public_key() == load_keys(keys).tls.public_key()
    assert not list(keys.glob("tls-next*"))
    assert renew(joined)


def test_key_without_certificate_is_used_for_the_next_try(joined, place):
    keys = Home(joined).keys
    before = load_certificate(Home(joined))
    first = x509.load_pem_x509_csr(next_request(keys, "telecom"))
    assert load_certificate(Home(joined)) == before
    assert renew(joined).public_key() == first.public_key()


def test_answer_of_the_hub_is_checked_before_anything_is_replaced(joined, place, tmp_path):
    keys = Home(joined).keys
    before = {path.name: path.read_bytes() for path in keys.iterdir() if "next" not in path.name}
    next_request(keys, "telecom")
    foreign = (impostor(tmp_path) / "server.pem").read_bytes()
    own = (keys / "tls.pem").read_bytes()
    for certificate, says in (
        (foreign, "not signed"),
        (own, "another key"),
        (b"x", "not readable"),
    ):
        with pytest.raises(KeyStoreError, match=says):
            store_renewal(keys, certificate)
    after = {path.name: path.read_bytes() for path in keys.iterdir() if "next" not in path.name}
    assert before == after
    assert credentials(keys)
