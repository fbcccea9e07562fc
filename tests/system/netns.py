"""Four hosts on this machine, each in a network namespace of its own: a pytest plugin.

    pytest_plugins = ("tests.system.netns",)

    def test_something(hosts):
        net = hosts(delay_s=0.05, loss=0.01)   # on the way out of each host, as `tc netem` does
        net.run("telecom", "curl", ...)
        with net.cut("telecom"): ...

Needs root, `ip` and /dev/net/tun; where there are none the test is skipped and says why.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ADDRESSES = {
    "hub": "10.77.0.1",
    "insurer": "10.77.0.2",
    "telecom": "10.77.0.3",
    "police": "10.77.0.4",
}
SWITCH = Path(__file__).with_name("netns_switch.py")
# Sends echo requests of its own, since not every machine has a `ping`.
_PING = """
import json, os, socket, struct, sys, time
target, count, wait = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
line = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
line.settimeout(0.01)
mark, sent, found = os.getpid() & 0xFFFF, {}, []
def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
def listen(until):
    while time.monotonic() < until:
        try:
            packet = line.recv(2048)[20:]
        except TimeoutError:
            continue
        kind, _, _, who, number = struct.unpack(">BBHHH", packet[:8])
        if kind == 0 and who == mark and number in sent:
            found.append(time.monotonic() - sent.pop(number))
for number in range(count):
    head = struct.pack(">BBHHH", 8, 0, 0, mark, number)
    head = struct.pack(">BBHHH", 8, 0, checksum(head), mark, number)
    sent[number] = time.monotonic()
    line.sendto(head, (target, 0))
    listen(time.monotonic() + wait)
listen(time.monotonic() + 1)
found.sort()
print(json.dumps({"sent": count, "back": len(found), "times_s": found}))
"""


@dataclass(slots=True)
class Hosts:
    """The hosts of one network, and the line between them."""

    prefix: str
    switch: subprocess.Popen

    @property
    def addresses(self):
        return ADDRESSES

    def inside(self, name, *command):
        """The command that runs another one at a host."""
        return ("ip", "netns", "exec", f"{self.prefix}-{name}", *map(str, command))

    def run(self, name, *command, **options):
        """Run a command at a host to its end; fails the test if it fails."""
        done = subprocess.run(
            self.inside(name, *command), capture_output=True, text=True, check=False, **options
        )
        assert done.returncode == 0, (name, command, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def ping(self, source, target, count=20, every_s=0.02):
        """Measure the line: how many came back, and in which times."""
        said = self.run(
            source, sys.executable, "-c", _PING, ADDRESSES[target], count, every_s, timeout=120
        )
        return json.loads(said)

    def tell(self, *words):
        """Tell the switch something; returns its counts."""
        self.switch.stdin.write(" ".join(map(str, words)) + "\n")
        self.switch.stdin.flush()
        return json.loads(self.switch.stdout.readline())

    @contextmanager
    def cut(self, name):
        """Cut a host off while the block lasts."""
        self.tell("cut", name)
        try:
            yield
        finally:
            self.tell("restore", name)


@pytest.fixture
def hosts():
    """Make a network of four hosts; called with delay (one way) and loss of each direction."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if shutil.which("ip") is None or not Path("/dev/net/tun").exists():
        pytest.skip("network namespaces need the command ip and /dev/net/tun")
    made = []

    def make(*, delay_s=0.0, loss=0.0, seed=0):
        prefix = f"lf{secrets.token_hex(3)}"
        switch = subprocess.Popen(
            [
                *(sys.executable, str(SWITCH), prefix),
                *(f"{name}={address}" for name, address in ADDRESSES.items()),
                *("--delay-s", str(delay_s), "--loss", str(loss), "--seed", str(seed)),
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        made.append(switch)
        said = json.loads(switch.stdout.readline())
        if "impossible" in said:
            pytest.skip(f"network namespaces cannot be made here: {said['impossible']}")
        return Hosts(prefix, switch)

    yield make
    for switch in made:
        # It removes the namespaces at the end of its input, with all that still runs in them.
        switch.stdin.close()
        try:
            switch.wait(30)
        finally:
            switch.kill()
            switch.wait()
            switch.stdout.close()
