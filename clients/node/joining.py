"""Making a node and bringing it to a hub: keys, request, welcome, pinned peers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from clients.keys import (
    NodeKeys,
    certificate_request,
    create_keys,
    load_keys,
    store_certificate,
)
from clients.node.brought import brought_certificate
from clients.node.files import make_private_directory, store_json
from clients.node.home import Home, check_identity, load_contract
from compliance.backup.settled import check_settled
from compliance.configuration import ConfigError, check_fields, read_object, typed
from protocols.link import check_party

if TYPE_CHECKING:
    from clients.node.supernode import SuperNode

_ADDRESSES = ("link", "flower", "api")
_WELCOME_FIELDS = {"hub", *_ADDRESSES, "identity", "certificate", "authority"}

# A cautious beginning: one run's worth of budget, and nothing that the agreement does not name.
DEFAULT_POLICY: dict[str, Any] = {
    "purposes": ["https://w3id.org/dpv#FraudPreventionAndDetection"],
    "max_epsilon": 1.0,
    "max_delta": 1e-5,
    "cap_epsilon": 3.0,
    "max_steps": 500,
    "min_rows": 100,
    "membership": ["hidden"],
    "pseudonyms": ["oblivious", "keyed"],
    "columns": "all",
    "hub_computes": True,
    "decide": "policy",
}


def make_node(
    directory: Path, *, name: str, table: Path, contract: Path, held_out_column: str | None
) -> Path:
    """Make a node's directory and keys, and write its join request; returns its path.

    Raises:
        ConfigError: the directory holds a node already, or the contract cannot be read.
    """
    check_party(name)
    home = Home(directory)
    if (directory / "node.json").exists():
        raise ConfigError("node.json: exists already; choose another directory")
    load_contract(contract)
    make_private_directory(directory)
    create_keys(home.keys)
    store_json(directory / "policy.json", DEFAULT_POLICY)
    store_json(
        directory / "node.json",
        {
            "name": name,
            "hub": {"link": "", "flower": "", "api": "", "identity": ""},
            "table": str(table.resolve()),
            "contract": str(contract.resolve()),
            "peers": {},
            "held_out_column": held_out_column,
        },
    )
    request = directory / f"{name}-request.json"
    store_json(request, _request(home))
    return request


def join_request(home: Home) -> dict[str, Any]:
    """Return the request that this node was made with, for a hub that asks for it once more.

    The same each time, so that a hub knows again what it has been sent already; made anew where
    the contract has changed since, or the file is gone.

    Raises:
        ConfigError: node.json or the contract cannot be read.
    """
    config = home.config()
    path = home.root / f"{config.name}-request.json"
    keys, contract = load_keys(home.keys), home.contract().format()
    if path.exists():
        kept = read_object(path)
        identity = keys.identity.public_key().public_bytes_raw().hex()
        same = (identity, contract, brought_certificate(home.keys))
        found = (kept.get("identity"), kept.get("contract"), kept.get("certificate", ""))
        if found == same and _asks_for(str(kept.get("tls_request")), keys):
            return kept
    made = _request(home)
    store_json(path, made)
    return made


def _request(home: Home) -> dict[str, Any]:
    keys, name = load_keys(home.keys), home.config().name
    public = keys.flower.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    brought = brought_certificate(home.keys)
    return {
        **({"certificate": brought} if brought else {}),
        "name": name,
        "tls_request": certificate_request(keys, name).decode(),
        "identity": keys.identity.public_key().public_bytes_raw().hex(),
        "flower_public": public.decode(),
        "contract": home.contract().format(),
    }


def _asks_for(request: str, keys: NodeKeys) -> bool:
    """Report whether a certificate request is for the TLS key in use."""
    try:
        found = x509.load_pem_x509_csr(request.encode())
        return found.public_key() == keys.tls.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False


def keep_welcome(directory: Path, welcome: dict[str, Any]) -> str:
    """Keep what the hub sent back; returns the hub's name.

    Raises:
        ConfigError: a field is missing.
        KeyStoreError: the certificate is not for this node's key.
    """
    check_fields(welcome, _WELCOME_FIELDS, "welcome")
    texts = {name: typed(welcome, name, str, "welcome") for name in _WELCOME_FIELDS}
    check_identity(texts["identity"], "welcome: identity")
    home = Home(directory)
    home.config()  # a directory that is no node's must not become one halfway
    store_certificate(home.keys, texts["certificate"].encode(), texts["authority"].encode())
    hub = {name: texts[name] for name in (*_ADDRESSES, "identity")}
    _change(directory, {"hub": hub})
    return texts["hub"]


def pin_peer(directory: Path, name: str, identity: str) -> None:
    """Pin another partner's identity key.

    Raises:
        ConfigError: not a key, or another key is pinned for this name.
    """
    check_party(name)
    check_identity(identity, "identity")
    config = Home(directory).config()
    if name == config.name:
        raise ConfigError(f"partner: {name} is this node itself; name another")
    peers = config.peers
    if peers.get(name, identity) != identity:
        raise ConfigError(
            f"identity: another key is pinned for {name}; remove it from node.json by hand first"
        )
    _change(directory, {"peers": peers | {name: identity}})


def supernode_of(directory: Path) -> SuperNode:
    """Return this node's SuperNode, not started yet."""
    from clients.node.supernode import SuperNode, SuperNodeSettings  # noqa: PLC0415  loads flwr

    home = Home(directory)
    config = home.config()
    if not config.flower:
        raise ConfigError("node.json: no hub yet; run `lianfang node join` first")
    check_settled(directory)
    return SuperNode(
        SuperNodeSettings(
            home=directory,
            superlink=config.flower,
            root_certificate=home.keys / "ca.crt",
            private_key=home.keys / "flower.key",
        )
    )


def _change(directory: Path, values: dict[str, Any]) -> None:
    path = directory / "node.json"
    store_json(path, read_object(path) | values)
