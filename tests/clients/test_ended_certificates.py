"""A node whose certificate has ended: its program says so, and the hub lets it in nowhere."""

import time

import grpc
import pytest

from clients.keys import certificate_request, create_keys, credentials, store_certificate
from clients.transport import Link, open_channel
from compliance.exits import Exit, exit_of
from protocols.link import TransportError
from protocols.standing import STAND_METHOD
from server.identity import create_authority, issue_node, issue_server
from server.link import Relay, Service
from server.standing import Standing

DAY = 86_400


@pytest.fixture
def place(tmp_path):
    """A hub's link, and nodes whose certificates are good, over, and to come."""
    now = int(time.time())
    authority = create_authority(tmp_path / "hub", "hub.example", now)
    issue_server(authority, tmp_path / "hub", ["127.0.0.1"], now)
    root = (tmp_path / "hub" / "ca.crt").read_bytes()
    for name, at in (("insurer", now), ("telecom", now - 398 * DAY), ("police", now + 9 * DAY)):
        keys = create_keys(tmp_path / name)
        store_certificate(
            tmp_path / name, issue_node(authority, certificate_request(keys, name), name, at), root
        )
    relay, standing = Relay(), Standing()
    relay.open_run("run-1", ("insurer", "telecom", "police"))
    service = Service(relay, hub="hub.example", on_control=dict, standing=standing)
    port = service.start(
        "127.0.0.1:0",
        authority=tmp_path / "hub" / "ca.crt",
        certificate=tmp_path / "hub" / "server.pem",
        key=tmp_path / "hub" / "server.key",
    )
    yield tmp_path, f"127.0.0.1:{port}", standing
    service.stop(grace_s=0.1)


@pytest.mark.parametrize(
    ("name", "told"),
    [("telecom", r"certificate ended on .* join again by `lianfang node join`"),
     ("police", r"certificate begins on .*; set the clock")],
)  # fmt: skip
def test_program_names_the_certificate_and_the_cure(place, name, told):
    root, address, _ = place
    with pytest.raises(TransportError, match=told) as caught:
        Link(address, credentials(root / name), "run-1", "train", 10)
    assert not caught.value.retryable
    assert exit_of(caught.value) is Exit.FAILED


@pytest.mark.parametrize("name", ["telecom", "police"])
def test_hub_lets_it_in_nowhere_whatever_its_program_thinks(place, name):
    root, address, standing = place
    held = credentials(root / name)
    files = (held.authority.read_bytes(), held.key.read_bytes(), held.certificate.read_bytes())
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(*files)) as channel:
        call = channel.stream_stream(STAND_METHOD)(iter(()), timeout=10)
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert standing.connected() == frozenset()
    assert standing.seen_s(name) is None
    # The others go on as before.
    open_channel(address, credentials(root / "insurer")).close()
