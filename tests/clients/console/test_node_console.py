"""`lianfang node console` as its own process: over HTTPS, with the accounts of the command line."""

import json
import re
import signal
import ssl
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from clients.cli import app
from clients.keys import create_keys
from clients.node.files import store_json
from clients.node.home import Home
from clients.office import node_office
from compliance.staff.accounts import State
from compliance.staff.staff import Staff
from protocols.tlog.entry import Entry

PASSWORD = "right horse battery staple"


@pytest.fixture
def node(tmp_path, agree, staffed, monkeypatch):
    """A node under an agreement whose staff are `maker` and `eye`."""
    root, hub = tmp_path / "insurer", Ed25519PrivateKey.generate()
    (root / "keys").mkdir(parents=True, mode=0o700)
    partners = {name: Ed25519PrivateKey.generate() for name in ("police", "telecom")}
    public = {
        name: key.public_key().public_bytes_raw().hex()
        for name, key in {**partners, "hub": hub}.items()
    }
    own = create_keys(root / "keys").identity
    hub_fields = {"link": "", "flower": "", "api": "", "identity": public.pop("hub")}
    store_json(root / "node.json", {
        "name": "insurer", "hub": hub_fields, "table": "t.csv", "contract": "c.json",
        "peers": public, "held_out_column": None,
    })  # fmt: skip
    agree({"insurer": own, "hub": hub, **partners}).keep(root)
    staffed(root)
    return root


@contextmanager
def running(root, *more, program="clients.cli", words=("node", "console")):
    """Run the command; gives the address, and the files of its certificate."""
    command = [sys.executable, "-m", program, *words, str(root), "--port", "0", *more]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            told = ""
            while "ready" not in told:
                line = process.stderr.readline()
                assert line, told
                told += line
            yield process, re.search(r"Open (https://\S+)/", told)[1], told
        finally:
            process.kill()


def client(root, address):
    context = ssl.create_default_context(cafile=root / "console" / "local.pem")
    return httpx.Client(
        verify=context, base_url=address, trust_env=False,
        headers={"origin": address, "sec-fetch-site": "same-origin", "accept-language": "en"},
    )  # fmt: skip


def sign_in(browser):
    page = browser.get("/signin").text
    token = re.search(r'name="token" value="(\w+)"', page)[1]
    form = {"token": token, "account": "maker", "password": PASSWORD, "next": "/"}
    return browser.post("/signin", data=form)


def test_the_console_serves_until_it_is_stopped(node):
    with running(node, "--format", "json") as (process, address, told):
        assert "ssh -L" in told
        with client(node, address) as browser:
            assert browser.get("/healthz").json() == {"status": "ok"}
            assert sign_in(browser).status_code == 303
            page = browser.get("/account")
            assert page.status_code == 200
            assert "maker" in page.text
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert json.loads(out)["state"] == "stopped"
    for path in ("console/local.key", "staff/signin.sqlite"):
        assert (node / path).stat().st_mode & 0o777 == 0o600
    with node_office(Home(node)) as office:
        origin = office.yearly.origin()
        (data,) = office.storage.entries(origin, 0, office.storage.edge(origin).size)
        assert Entry.decode(data).act == "sign_in"


def test_a_suspension_at_the_command_line_ends_the_session_in_the_browser(node):
    with running(node) as (_, address, _), client(node, address) as browser:
        sign_in(browser)
        assert browser.get("/").status_code == 200
        before = Staff(node).accounts()["maker"]
        with Staff(node).exclusive() as (accounts, store):
            store({**accounts, "maker": replace(before, state=State.SUSPENDED)})
        assert browser.get("/").headers["location"].startswith("/signin")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--host", "0.0.0.0"), "others can reach it"),
        (("--certificate", "x.pem"), "goes together with --key"),
    ],
)
def test_what_would_be_open_to_others_is_refused(node, more, told):
    done = CliRunner().invoke(app, ["node", "console", str(node), "--port", "0", *more])
    assert told in str(done.exception)


def test_a_directory_that_is_no_node_stays_as_it_is(tmp_path):
    done = CliRunner().invoke(app, ["node", "console", str(tmp_path), "--port", "0"])
    assert "node.json: not found" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_an_identity_is_bound_by_two_and_unbound(node):
    issuer = "https://sso.example"
    words = ["staff", "bind", str(node), "maker", "--issuer", issuer, "--subject", "s-1",
             "--reason", "moved to the issuer", "--format", "json"]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output + str(done.exception)
    assert json.loads(done.stdout)["issuer"] == issuer
    assert "s-1" not in done.stdout
    alone = CliRunner().invoke(app, [*words[:3], "eye", *words[4:]], env={"LIANFANG_SECOND": ""})
    assert "waits for a second person" in str(alone.exception)
    out = ["staff", "unbind", str(node), "maker", "--reason", "left", "--format", "json"]
    done = CliRunner().invoke(app, out)
    assert json.loads(done.stdout)["identities"] == 1
