"""A switch between network namespaces that delays, loses and cuts: run by `netns.py`, as root.

Every host gets a TUN device in its own namespace; this process holds the other ends, and is the
only way from one host to another. Each packet is held for the delay of its direction, lost by
chance, and dropped while its sender or recipient is cut off. It is what `tc netem` does on
the way out of each host, for kernels that come without it.

    arguments   PREFIX HOST=ADDRESS... [--delay-s S] [--loss SHARE] [--seed N]
    input       `cut HOST`, `restore HOST`, `set DELAY_S LOSS`, `count`; the end of input ends all
    output      one line of JSON for each

Namespaces are made here and removed here, however it ends.
"""

import argparse
import contextlib
import ctypes
import fcntl
import heapq
import ipaddress
import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
BATCH = 64


def say(value):
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def ip(*arguments, check=True):
    return subprocess.run(("ip", *arguments), check=check, capture_output=True, text=True).stdout


def open_device(namespace, address):
    """Make a TUN device in a namespace and return our end of it."""
    library = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if library.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22s", b"wan0", IFF_TUN | IFF_NO_PI, b""))
    finally:
        library.setns(home, CLONE_NEWNET)
        os.close(there)
        os.close(home)
    inside = ("-n", namespace)
    ip(*inside, "link", "set", "lo", "up")
    ip(*inside, "address", "add", f"{address}/24", "dev", "wan0")
    ip(*inside, "link", "set", "wan0", "mtu", "1500", "txqueuelen", "2000", "up")
    return device


class Switch:
    def __init__(self, hosts, delay_s, loss, seed):
        self.delay_s, self.loss = delay_s, loss
        self.chance = random.Random(seed)
        self.devices = {device: name for name, (device, _) in hosts.items()}
        self.by_address = {
            ipaddress.ip_address(address).packed: (device, name)
            for name, (device, address) in hosts.items()
        }
        self.cut = set()
        self.waiting = []
        self.order = 0
        self.counts = Counter()

    def receive(self, device):
        """Take what a host sends, and decide what becomes of it."""
        now = time.monotonic()
        for _ in range(BATCH):
            try:
                packet = os.read(device, 2048)
            except BlockingIOError:
                return
            target = self.by_address.get(packet[16:20]) if packet[0] >> 4 == 4 else None
            if target is None:
                continue
            if {self.devices[device], target[1]} & self.cut:
                self.counts["cut"] += 1
            elif self.chance.random() < self.loss:
                self.counts["lost"] += 1
            else:
                self.order += 1
                heapq.heappush(self.waiting, (now + self.delay_s, self.order, *target, packet))

    def deliver(self):
        """Hand on what has been held long enough; return how long the next has to wait."""
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            _, _, device, name, packet = heapq.heappop(self.waiting)
            if name in self.cut:
                self.counts["cut"] += 1
                continue
            self.counts["carried"] += 1
            self.counts["bytes"] += len(packet)
            with contextlib.suppress(BlockingIOError):
                os.write(device, packet)
        return self.waiting[0][0] - now if self.waiting else None

    def obey(self, words):
        match words:
            case ["cut", name]:
                self.cut.add(name)
            case ["restore", name]:
                self.cut.discard(name)
            case ["set", delay_s, loss]:
                self.delay_s, self.loss = float(delay_s), float(loss)
            case ["count"]:
                pass
        return dict(self.counts) | {"cut_off": sorted(self.cut)}

    def run(self):
        poll = select.epoll()
        for device in self.devices:
            poll.register(device, select.EPOLLIN)
        poll.register(0, select.EPOLLIN | select.EPOLLHUP)
        while True:
            wait_s = self.deliver()
            for found, _ in poll.poll(-1 if wait_s is None else max(0.0, wait_s)):
                if found != 0:
                    self.receive(found)
                elif line := sys.stdin.readline():
                    say(self.obey(line.split()))
                else:
                    return


def remove(namespace):
    """End what still runs in a namespace, then take it away."""
    for pid in ip("netns", "pids", namespace, check=False).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    ip("netns", "delete", namespace, check=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("prefix")
    parser.add_argument("hosts", nargs="+")
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--loss", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    addresses = dict(host.split("=") for host in arguments.hosts)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # An interrupt at the terminal is for the tests; they end this process by closing its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    made = {}
    try:
        for name, address in addresses.items():
            namespace = f"{arguments.prefix}-{name}"
            ip("netns", "add", namespace)
            made[name] = (-1, address)
            made[name] = (open_device(namespace, address), address)
        say({"ready": sorted(made)})
        Switch(made, arguments.delay_s, arguments.loss, arguments.seed).run()
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or ""
        say({"impossible": f"{error} {said}".strip()})
    finally:
        for name in made:
            remove(f"{arguments.prefix}-{name}")
            with contextlib.suppress(FileNotFoundError):
                Path(f"/run/netns/{arguments.prefix}-{name}").unlink()


if __name__ == "__main__":
    main()
