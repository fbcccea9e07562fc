"""A training run over Flower at a hub and partners whose keys are sealed on disk."""

import json
import os
import subprocess
import sys

import pytest

from clients.demo.bringing_up import run_command
from compliance.atrest.keyring import forget_keys
from compliance.atrest.sealing import secrets_in, standing
from compliance.atrest.unlocking import UNLOCK

PARTNERS = ("insurer", "telecom", "police")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sealed(make_place, start_flower, tmp_path_factory):
    """A served town with sealed keys, after one run; with its keys as they lay in clear."""
    made = make_place("sealed")
    given = tmp_path_factory.mktemp("given") / "passphrase"
    given.write_text("right horse battery staple\n")
    given.chmod(0o600)
    roots = [made.hub, *map(made.node, PARTNERS)]
    clear = {path.read_bytes() for root in roots for path in secrets_in(root)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(UNLOCK, f"passphrase-file:{given}")
        for root in roots:
            program = "lianfang-hub" if root == made.hub else "lianfang"
            run_command(program, "keys", "seal", str(root))
        start_flower(made)
        made.propose("sealed")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "server.cli", "run", str(made.hub), "sealed"),
                *("--wait", "60", "--format", "json"),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found = {root: standing(root) for root in roots}
        yield made, clear, done, found
        made.stop()
    forget_keys()


def test_run_is_done_with_sealed_keys(sealed):
    made, _, done, _ = sealed
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"]["state"] == "done"
    assert made.record("sealed")["outcome"] == "done"


def test_no_key_lies_in_clear_while_flower_runs(sealed):
    _, clear, _, found = sealed
    assert len(clear) > 20
    for root, state in found.items():
        assert state.is_whole, (root, state.clear)
        for path in root.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert not any(secret in data for secret in clear), path


def test_key_of_flower_stays_in_memory(sealed):
    """What Flower is given by name is a file of its own process's memory."""
    made, *_ = sealed
    for name in PARTNERS:
        assert b"OPENSSH PRIVATE KEY" not in (made.node(name) / "keys" / "flower.key").read_bytes()
    assert os.environ[UNLOCK].startswith("passphrase-file:")
