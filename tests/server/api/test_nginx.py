"""The hub behind a real nginx that is configured by the file in docs/operation."""

import shutil
import socket
import ssl
import subprocess
import time
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from server.addresses import parse_proxies
from server.api.app import create_app
from server.api.running import ApiServer
from server.identity.proxies import give_certificate
from server.identity.trusted import pem_text

EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "operation" / "nginx.conf"
PLACE = "/etc/nginx/lianfang/"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed on this machine"),
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Behind:
    """A hub and an nginx in front of it."""

    def __init__(self, world, directory):
        self.world, self.directory = world, directory
        shop = world.shop
        give_certificate(world.home.root, directory, world.clock.now())
        for name in ("server.pem", "server.key"):
            shutil.copy(shop.directory / name, directory)
        (directory / "clients.crt").write_text(pem_text(shop.authority.certificate))
        self.server = ApiServer(
            create_app(world.parts),
            hub="lianfang",
            admission=world.parts.enrolment.admission,
            proxies=parse_proxies("127.0.0.1"),
        )
        names = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}
        paths = {name: shop.directory / file for name, file in names.items()}
        self.direct = self.server.start("127.0.0.1", 0, **paths)
        self.port = free_port()
        self.nginx = subprocess.Popen(
            [NGINX, "-c", str(self._configured()), "-g", "daemon off;"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._await()

    def _configured(self):
        changes = {
            PLACE: f"{self.directory}/",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "127.0.0.1:9445": f"127.0.0.1:{self.direct}",
            "/run/nginx-lianfang.pid": f"{self.directory}/nginx.pid",
            "/var/log/nginx/lianfang.log": f"{self.directory}/nginx.log",
        }
        text = EXAMPLE.read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {self.directory}/{kind};" for kind in kinds)
        path = self.directory / "nginx.conf"
        path.write_text(text.replace("http {", f"http {{ {temporary}", 1))
        return path

    def _await(self):
        ends_at = time.monotonic() + 20
        while time.monotonic() < ends_at:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.nginx.poll() is None, (self.directory / "nginx.log").read_text()
            time.sleep(0.05)
        raise AssertionError("nginx does not listen")

    def client(self, name=None, *, credentials=None, port=None):
        chosen = self.world.shop.credentials[name] if name else credentials
        return httpx.Client(
            base_url=f"https://127.0.0.1:{port or self.port}",
            verify=self.world.shop.context(chosen),
            trust_env=False,
        )

    def stop(self):
        self.nginx.terminate()
        self.nginx.wait(20)
        self.server.stop()


@pytest.fixture
def behind(world, tmp_path):
    made = Behind(world, tmp_path)
    yield made
    made.stop()


def forms(world, name):
    pem = world.shop.credentials[name][0].read_bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    return (
        {"Client-Cert": f":{b64encode(der).decode()}:"},
        {"Client-Cert": quote(pem.decode(), safe="")},
    )


def lookup(world, client, headers=(), asker="insurer"):
    request = world.sign(world.query((b"x",)).request, asker=asker)
    head = {
        "Content-Type": "application/vnd.lianfang.evaluation-request",
        "Idempotency-Key": request.request_id.hex(),
    }
    return client.post("/v1/evaluations", content=request.encode(), headers=head | dict(headers))


def test_lookups_work_through_it_and_forged_headers_do_not(behind, world, problem):
    with behind.client("insurer") as client:
        assert lookup(world, client).status_code == 200
        assert client.get("/v1/quota").json()["used"] == 1
    used = world.used()
    # It replaces what a client claims: with its own certificate, and with nothing for none.
    for forged in forms(world, "insurer"):
        with behind.client("telecom") as client:
            problem(lookup(world, client, forged), 403, "not_permitted")
        with behind.client() as client:
            problem(lookup(world, client, forged), 403, "certificate_required")
        with behind.client("telecom", port=behind.direct) as client:
            problem(lookup(world, client, forged), 400, "forwarded_certificate")
    assert world.used() == used


def test_tokens_and_revocation_hold_behind_it(behind, world, problem):
    form = {"grant_type": "client_credentials", "scope": "lookup"}
    with behind.client("insurer") as client:
        given = client.post("/v1/token", data=form).json()
        head = {"Authorization": f"Bearer {given['access_token']}"}
        assert lookup(world, client, head).status_code == 200
        with behind.client("telecom") as thief:
            problem(lookup(world, thief, head), 401, "invalid_token")
        world.home.revoke("insurer", world.clock.now())
        problem(lookup(world, client, head), 403, "partner_revoked")


def test_large_bodies_come_through_it(behind, world):
    for name in ("police", "telecom"):
        world.publish(world.delta(world.records(3), name=name), name=name)
    delta = world.delta(world.records(40_000))
    with behind.client("police") as client:
        answer = client.post(
            "/v1/epochs/5/tables/police",
            content=delta.encode(),
            headers={"Content-Type": "application/octet-stream"},
            timeout=60,
        )
        assert answer.status_code == 200
    with behind.client("insurer") as client:
        assert len(client.get("/v1/epochs/5/tables/police/2").content) > 1 << 20


def test_expired_certificates_stop_there(behind, world):
    expired = world.shop.issue("insurer", now=world.clock.now() - 398 * 86_400)
    with behind.client(credentials=expired) as client:
        assert client.get("/v1/quota").status_code == 400


def test_it_is_tls_with_the_hub_on_both_sides(behind):
    context = ssl.create_default_context(cafile=str(behind.directory / "ca.crt"))
    with (
        socket.create_connection(("127.0.0.1", behind.port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        assert connection.version() == "TLSv1.3"
    text = EXAMPLE.read_text()
    assert "proxy_ssl_verify on;" in text
    assert "ssl_verify_client optional;" in text
