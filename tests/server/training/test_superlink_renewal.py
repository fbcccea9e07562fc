"""Flower's process shows a renewed certificate once no run goes; with the real SuperLink."""

import socket
import ssl
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocols.bundle import build_bundle
from server.home import HubHome
from server.serving import superlink_of

# The SuperLink is started twice.
pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path):
    made = HubHome(tmp_path / "hub")
    now = int(time.time())
    made.create(name="hub.test", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=now)
    return made


def shown(home):
    """The certificate that SuperNodes are shown."""
    context = ssl.create_default_context(cafile=str(home.authority / "ca.crt"))
    context.set_alpn_protocols(["h2"])
    address = "127.0.0.1", home.settings().fleet_port
    with (
        socket.create_connection(address) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        return connection.getpeercert(binary_form=True)


def on_disk(home):
    return ssl.PEM_cert_to_DER_cert((home.authority / "server.pem").read_text())


def test_it_starts_anew_between_runs_and_keeps_its_partners(home):
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with superlink_of(home) as superlink:
        superlink.control.register("telecom", pem)
        first, before = superlink.pid, on_disk(home)
        superlink.take_up_renewal()
        assert superlink.pid == first
        assert shown(home) == before
        run = superlink.control.start_run(build_bundle(), {"run": "spring"})
        home.renew_server(int(time.time()))
        superlink.take_up_renewal()
        assert superlink.pid == first
        superlink.control.stop_run(run)
        ends_at = time.monotonic() + 60
        while superlink.pid == first:
            superlink.take_up_renewal()
            assert time.monotonic() < ends_at
            time.sleep(0.2)
        assert shown(home) == on_disk(home) != before
        assert set(superlink.control.nodes()) == {"telecom"}
