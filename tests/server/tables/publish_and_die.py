"""Publish a delta in one child after another, each killed at a later system call than the last.

    python publish_and_die.py DIRECTORY

DIRECTORY holds `manifest.json`, `identity` (public key), `delta` and `tables`; each child
works on a copy `tables-<n>` and sends itself SIGKILL just before its n-th call that opens,
renames or removes a file. The last child lives. Prints the number of children.
"""

import os
import shutil
import signal
import sys
from itertools import count
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocols.epoch.manifest import EpochManifest
from server.tables.store import Tables

WATCHED = {"open", "os.rename", "os.remove"}


def die_at(number: int) -> None:
    left = [number]

    def watch(event: str, _: object) -> None:
        if event in WATCHED:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def main(directory: Path) -> None:
    manifest = EpochManifest.decode((directory / "manifest.json").read_bytes())
    public = Ed25519PublicKey.from_public_bytes((directory / "identity").read_bytes())
    delta = (directory / "delta").read_bytes()
    for number in count(1):
        copy = directory / f"tables-{number}"
        shutil.copytree(directory / "tables", copy)
        tables = Tables(copy, hub=manifest.hub, identities={"police": public}.get)
        child = os.fork()
        if child == 0:
            die_at(number)
            tables.publish(manifest, "police", delta)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            sys.stdout.write(f"{number}\n")
            return
        assert os.WTERMSIG(status) == signal.SIGKILL


main(Path(sys.argv[1]))
