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

import re
from dataclasses import dataclass
from pathlib import Path

from clients.node.files import make_private_directory
from clients.node.policy import Policy
from compliance.configuration import ConfigError, check_fields, read_object, typed
from compliance.operation.settings import FIELDS, OperationSettings
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.link import check_party
from protocols.phase import verify_run_name
from protocols.vertical.contract import Contract

_FIELDS = {"name", "hub", "table", "contract", "peers", "held_out_column"}
_IDENTITY = re.compile(r"[0-9a-f]{64}")
_FIRST = "run `lianfang node init` first"


@dataclass(frozen=True, slots=True)
class Config:
    """The contents of node.json.

    Attributes:
        link: host:port of the hub's link; flower: of its SuperLink; api: of its HTTPS API.
        hub_identity: the hub's Ed25519 key, hexadecimal; empty until the node has joined.
        peers: pinned Ed25519 identity keys of the other partners, hexadecimal, by name.
    """

    name: str
    link: str
    flower: str
    api: str
    hub_identity: str
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
        """Name the directory of one run, which a run makes that is accepted, and no other.

        Raises:
            MalformedMessageError: the name, which comes from the hub, is no folder's name.
        """
        verify_run_name(run)
        return self.root / "runs" / run

    def config(self) -> Config:
        """Read node.json.

        Raises:
            ConfigError: names the field, the rule and the cure.
        """
        where = "node.json"
        value = read_object(self.root / where, cure=_FIRST)
        OperationSettings.parse(value, where)
        check_fields(value, _FIELDS | (FIELDS & set(value)), where)
        hub = typed(value, "hub", dict, where)
        check_fields(hub, {"link", "flower", "api", "identity"}, "node.json: hub")
        held_out = value["held_out_column"]
        if held_out is not None and not isinstance(held_out, str):
            raise ConfigError("node.json: held_out_column must be a column's name or null")
        return Config(
            name=typed(value, "name", str, where),
            link=typed(hub, "link", str, "node.json: hub"),
            flower=typed(hub, "flower", str, "node.json: hub"),
            api=typed(hub, "api", str, "node.json: hub"),
            hub_identity=typed(hub, "identity", str, "node.json: hub"),
            table=self.root / typed(value, "table", str, where),
            contract=self.root / typed(value, "contract", str, where),
            peers=_peers(typed(value, "peers", dict, where)),
            held_out_column=held_out,
        )

    def policy(self) -> Policy:
        """Read policy.json.

        Raises:
            ConfigError: names the field, the rule and the cure.
        """
        try:
            return Policy.parse(read_object(self.root / "policy.json", cure=_FIRST))
        except UnsupportedParameterError as error:
            raise ConfigError(f"policy.json: {error}") from error

    def contract(self) -> Contract:
        """Read the feature contract.

        Raises:
            ConfigError: names the field, the rule and the cure.
        """
        return load_contract(self.config().contract)


def load_contract(path: Path) -> Contract:
    """Read a feature contract.

    Raises:
        ConfigError: names the field, the rule and the cure.
    """
    try:
        return Contract.parse(read_object(path))
    except UnsupportedParameterError as error:
        raise ConfigError(f"{path.name}: {error}") from error


def check_identity(value: object, where: str) -> str:
    """Return an identity key that is written as one.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(value, str) or not _IDENTITY.fullmatch(value):
        raise ConfigError(
            f"{where}: needs 64 hexadecimal digits, lower case; ask the partner to read it out"
        )
    return value


def _peers(value: dict[str, object]) -> dict[str, str]:
    for name in value:
        try:
            check_party(name)
        except MalformedMessageError as error:
            raise ConfigError("node.json: peers holds a name that no partner can have") from error
    return {name: check_identity(key, f"node.json: key of {name}") for name, key in value.items()}
