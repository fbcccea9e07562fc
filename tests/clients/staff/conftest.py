"""A node under an agreement, and a directory with the passwords of its staff."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from clients.keys import create_keys
from clients.node.files import store_json
from clients.output import explain
from clients.staff.cli import app
from compliance.commands.acting import AS, PASSWORDS, SECOND
from compliance.staff.passwords import Cost


@dataclass
class Node:
    """A node's directory, and `lianfang staff` at it."""

    root: Path
    passwords: Path
    environment: dict = field(default_factory=dict)

    def password(self, name, text=None):
        """Put a password into a file as LIANFANG_PASSWORDS has them."""
        self.passwords.mkdir(mode=0o700, exist_ok=True)
        file = self.passwords / name
        file.write_text((text or f"a long enough secret of {name}") + "\n")
        file.chmod(0o600)
        return file

    def run(self, command, *arguments, code=0):
        """Run a command; returns its JSON, or what it said on standard error."""
        words = [command, self.root, *arguments, "--format", "json"]
        done = CliRunner().invoke(app, [str(word) for word in words], env=self.environment)
        ended, said = done.exit_code, done.stderr
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            ended, said = explain(done.exception), str(done.exception)
        assert ended == code, done.output + said
        if code:
            return said
        (line,) = done.stdout.splitlines()
        value = json.loads(line)
        assert value["next"]
        return value

    def add(self, name, *roles, code=0, more=()):
        self.password(name)
        words = [word for role in roles for word in ("--role", role)]
        return self.run(
            "add", name, "--display", name.title(), "--reason", "set-up", *words, *more, code=code
        )


@pytest.fixture
def node(tmp_path, agree, monkeypatch):
    for name in (AS, SECOND, PASSWORDS):
        monkeypatch.delenv(name, raising=False)
    # Passwords are hashed some dozens of times here; what it costs is tested elsewhere.
    monkeypatch.setattr("compliance.staff.staff.DEFAULT_COST", Cost(64, 1, 1))
    root, hub = tmp_path / "{braces} insurer", Ed25519PrivateKey.generate()
    (root / "keys").mkdir(parents=True, mode=0o700)
    partners = {name: Ed25519PrivateKey.generate() for name in ("police", "telecom")}
    public = {
        name: key.public_key().public_bytes_raw().hex()
        for name, key in {**partners, "hub": hub}.items()
    }
    own = create_keys(root / "keys").identity
    store_json(
        root / "node.json",
        {
            "name": "insurer",
            "hub": {"link": "", "flower": "", "api": "", "identity": public.pop("hub")},
            "table": "t.csv",
            "contract": "c.json",
            "peers": public,
            "held_out_column": None,
        },
    )
    agree({"insurer": own, "hub": hub, **partners}).keep(root)
    passwords = tmp_path / "passwords"
    return Node(root, passwords, {PASSWORDS: str(passwords)})


@pytest.fixture
def manned(node):
    """The node after its set-up: an approver and an officer."""
    node.add("amy", "approver")
    node.add("otto", "compliance")
    return node
