"""`lianfang-hub console` as its own process, beside whatever serves the hub."""

import re
import signal
import ssl
import subprocess
import sys

import httpx
import pytest

from server.home import HubHome, unix_now
from server.log.opening import open_log

PASSWORD = "right horse battery staple"


@pytest.fixture
def hub(tmp_path, staffed):
    """A hub with the staff `maker` and `eye`, before any agreement."""
    root = tmp_path / "hub"
    HubHome(root).create(
        name="lianfang", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=unix_now()
    )
    staffed(root)
    return root


def test_the_hubs_console_serves_its_staff(hub):
    command = [sys.executable, "-m", "server.cli", "console", str(hub), "--port", "0", "--demo"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            told = ""
            while "ready" not in told:
                line = process.stderr.readline()
                assert line, told
                told += line
            address = re.search(r"Open (https://\S+)/", told)[1]
            context = ssl.create_default_context(cafile=hub / "console" / "local.pem")
            fields = {"origin": address, "sec-fetch-site": "same-origin", "accept-language": "en"}
            with httpx.Client(
                verify=context, base_url=address, trust_env=False, headers=fields
            ) as browser:
                page = browser.get("/signin")
                assert "DEMO DATA" in page.text
                token = re.search(r'name="token" value="(\w+)"', page.text)[1]
                form = {"token": token, "account": "maker", "password": PASSWORD, "next": "/"}
                assert browser.post("/signin", data=form).status_code == 303
                # What a hub's people may do, and nothing of what a partner's may.
                rights = browser.get("/").text
                assert "let partners in and out" in rights
                assert "check customers" not in rights
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
            assert process.returncode == 0
        finally:
            process.kill()
    with open_log(HubHome(hub)) as log:
        origin = log.yearly.origin()
        assert log.storage.edge(origin).size == 1
