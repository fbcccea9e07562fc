"""The node's directory: who it is, where its table lies, what it keeps of each run.

    node.json       name, hub addresses, table, contract, pinned peers
    policy.json     the standing policy by which runs are accepted or refused
    keys/           made here and never sent; certificates come from the hub's authority
    ledger/         the privacy budget spent on the people in this node's table
    runs/<run>/     plan, row map, encoded table, model part, scores, record, what was sent
    inbox/          runs that wait for a person's decision

Nothing in it is world-readable. A run's secrets are deleted when the run ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.node.files import load_json, make_private_directory
from clients.node.policy import Policy
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.phase import verify_run_name
from protocols.vertical.contract import Contract

_FIELDS = {"name", "hub", "table", "contract", "peers", "held_out_column"}


class ConfigError(Exception):
    """A configuration file is missing or wrong; names the file, the field and the cure."""

    code = "config_error"


@dataclass(frozen=True, slots=True)
class Config:
    """The contents of node.json.

    Attributes:
        link: host:port of the hub's link; flower: host:port of its SuperLink.
        peers: pinned Ed25519 identity keys of the other partners, hexadecimal, by name.
    """

    name: str
    link: str
    flower: str
    table: Path
    contract: Path
    peers: dict[str, str]
    held_out_column: str | None


@dataclass(frozen=True, slots=True)
class Home:
    """One node's directory."""

    root: Path

    @property
    def keys(self) -> Path:
        """Return the directory of keys and certificates."""
        return make_private_directory(self.root / "keys")

    @property
    def inbox(self) -> Path:
        """Return the directory of runs that wait for a person."""
        return make_private_directory(self.root / "inbox")

    @property
    def ledger(self) -> Path:
        """Return the ledger's file."""
        return make_private_directory(self.root / "ledger") / "budget.journal"

    def run(self, run: str) -> Path:
        """Return the directory of one run; the name is checked, for it comes from the hub."""
        verify_run_name(run)
        return make_private_directory(self.root / "runs" / run)

    def config(self) -> Config:
        """Read node.json.

        Raises:
            ConfigError: names the field, the rule and the cure.
        """
        value = self._read("node.json")
        if set(value) != _FIELDS or set(value["hub"]) != {"link", "flower"}:
            raise ConfigError(f"node.json: needs exactly the fields {', '.join(sorted(_FIELDS))}")
        return Config(
            name=value["name"],
            link=value["hub"]["link"],
            flower=value["hub"]["flower"],
            table=self.root / value["table"],
            contract=self.root / value["contract"],
            peers=dict(value["peers"]),
            held_out_column=value["held_out_column"],
        )

    def policy(self) -> Policy:
        """Read policy.json.

        Raises:
            ConfigError: names the field, the rule and the cure.
        """
        try:
            return Policy.parse(self._read("policy.json"))
        except UnsupportedParameterError as error:
            raise ConfigError(f"policy.json: {error}") from error

    def contract(self) -> Contract:
        """Read the feature contract.

        Raises:
            ConfigError: names the field, the rule and the cure.
        """
        try:
            return Contract.parse(load_json(self.config().contract))
        except (OSError, ValueError, UnsupportedParameterError, MalformedMessageError) as error:
            raise ConfigError(
                f"contract: {error}; correct the file that node.json names"
            ) from error

    def _read(self, name: str) -> dict[str, Any]:
        try:
            value = load_json(self.root / name)
        except FileNotFoundError as error:
            raise ConfigError(f"{name}: not found; run `lianfang node init` first") from error
        except ValueError as error:
            raise ConfigError(f"{name}: not valid JSON; correct it") from error
        if not isinstance(value, dict):
            raise ConfigError(f"{name}: must hold one object; correct it")
        return value
