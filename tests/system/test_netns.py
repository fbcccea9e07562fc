"""The line between namespaces does what is asked of it, without which no test over it counts."""

import statistics
import subprocess
import sys
import time

pytest_plugins = ("tests.system.netns",)

# At the hub: takes what comes and says how much it was.
TAKE = """
import socket
server = socket.create_server(("10.77.0.1", 9000))
print("listening", flush=True)
line, _ = server.accept()
total = 0
while data := line.recv(1 << 16):
    total += len(data)
line.sendall(str(total).encode())
"""
SEND = """
import socket
line = socket.create_connection(("10.77.0.1", 9000))
line.sendall(bytes(2_000_000))
line.shutdown(socket.SHUT_WR)
print(line.recv(100).decode())
"""


def namespaces(prefix):
    said = subprocess.run(("ip", "netns", "list"), capture_output=True, text=True, check=True)
    return [line for line in said.stdout.splitlines() if line.startswith(prefix)]


def test_line_delays_loses_and_is_cut(hosts):
    net = hosts(delay_s=0.05, loss=0.01)
    told = net.ping("telecom", "hub", count=300, every_s=0.005)
    assert min(told["times_s"]) >= 0.1
    assert statistics.median(told["times_s"]) < 0.15
    assert told["back"] < told["sent"]
    # One in a hundred each way, give or take chance.
    assert net.tell("count")["lost"] < 30
    with net.cut("telecom"):
        assert net.ping("telecom", "hub", count=3)["back"] == 0
        assert net.ping("police", "hub", count=5)["back"] > 0
    net.tell("set", 0.05, 0)
    assert net.ping("telecom", "hub", count=3)["back"] == 3


def test_connection_holds_over_loss(hosts):
    net = hosts(delay_s=0.005, loss=0.01)
    taker = subprocess.Popen(
        net.inside("hub", sys.executable, "-c", TAKE), stdout=subprocess.PIPE, text=True
    )
    try:
        assert taker.stdout.readline() == "listening\n"
        assert net.run("telecom", sys.executable, "-c", SEND, timeout=60) == "2000000\n"
        assert net.tell("count")["lost"] > 0
    finally:
        taker.kill()
        taker.wait()
        taker.stdout.close()


def test_hosts_reach_each_other_over_the_line_alone(hosts):
    net = hosts()
    probe = "import socket; socket.create_connection(('10.77.0.1', 9), timeout=1)"
    done = subprocess.run(
        net.inside("telecom", sys.executable, "-c", probe),
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert "Connection refused" in done.stderr
    routes = net.run("telecom", "ip", "route")
    assert routes.split()[:3] == ["10.77.0.0/24", "dev", "wan0"]
    assert "default" not in routes


def test_namespaces_are_gone_afterwards(hosts):
    net = hosts()
    assert len(namespaces(net.prefix)) == 4
    sleeper = subprocess.Popen(net.inside("police", "sleep", "600"))
    net.switch.stdin.close()
    net.switch.wait(20)
    assert namespaces(net.prefix) == []
    end = time.monotonic() + 5
    while sleeper.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)
