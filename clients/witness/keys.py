"""The witness's own keys, NODE/keys/witness.key: made here, never sent, used for nothing else.

    PRIVATE+KEY+<name>+<key id in hex>+base64(0x04 || seed)     Ed25519, cosignature/v1
    PRIVATE+KEY+<name>+<key id in hex>+base64(0x06 || seed)     ML-DSA-44

One line a key, in the spelling that Go's note tools use. Every checkpoint is signed with both:
verifiers that know Ed25519 alone read the first, the second holds against a quantum computer.

A witness whose state was lost, or put back from a copy, must not go on under its old keys: it
might cosign what contradicts its earlier word. Delete this file, and have the new keys listed.
"""

from __future__ import annotations

import os
from pathlib import Path

from clients.keys import KeyStoreError
from clients.node.files import exclusive
from compliance.atrest.secrets import read_secret, write_secret
from protocols.errors import MalformedMessageError
from protocols.tlog.lines import format_base64, parse_base64
from protocols.tlog.note import KeyKind, Signer

WITNESS_KEY = "witness.key"
_START = "PRIVATE+KEY+"
_KINDS = (KeyKind.COSIGNATURE, KeyKind.SUBTREE)
_SEED_SIZE = 32
_OTHERS = 0o077


def create_witness_keys(directory: Path, name: str) -> tuple[Signer, ...]:
    """Make the witness's keys unless they exist; return them.

    Args:
        directory: the node's keys.
        name: under which the signatures are found; kept if the keys exist.

    Raises:
        KeyStoreError: existing keys cannot be used.
    """
    path = directory / WITNESS_KEY
    with exclusive(directory):
        if not path.exists():
            seeds = [(kind, os.urandom(_SEED_SIZE)) for kind in _KINDS]
            lines = [_format(Signer.from_seed(name, kind, seed), seed) for kind, seed in seeds]
            write_secret(path, "".join(lines).encode())
    return load_witness_keys(directory)


def load_witness_keys(directory: Path) -> tuple[Signer, ...]:
    """Read the witness's keys, the one for Ed25519 first.

    Raises:
        KeyStoreError: missing, damaged or readable by others; names the cure.
    """
    path = directory / WITNESS_KEY
    try:
        if path.stat().st_mode & _OTHERS:
            raise KeyStoreError(
                f"{path}: readable by others; delete it, and have new keys listed by the hub"
            )
        lines = read_secret(path).decode("utf-8").splitlines()
    except FileNotFoundError as error:
        raise KeyStoreError(f"{path}: not there; run `lianfang audit witness key`") from error
    except (OSError, ValueError) as error:
        raise KeyStoreError(f"{path}: cannot be read; restore it from a backup") from error
    try:
        signers = tuple(_parse(line) for line in lines)
    except (MalformedMessageError, ValueError) as error:
        raise KeyStoreError(f"{path}: not a witness's keys; restore it from a backup") from error
    if tuple(signer.kind for signer in signers) != _KINDS or len({s.name for s in signers}) != 1:
        raise KeyStoreError(f"{path}: not an Ed25519 and an ML-DSA-44 key of one name; restore it")
    return signers


def _format(signer: Signer, seed: bytes) -> str:
    encoded = format_base64(bytes([signer.kind]) + seed)
    return f"{_START}{signer.name}+{signer.key.key_id.hex()}+{encoded}\n"


def _parse(line: str) -> Signer:
    name, _, rest = line.removeprefix(_START).partition("+")
    key_id, _, encoded = rest.partition("+")
    data = parse_base64(encoded, "key")
    signer = Signer.from_seed(name, KeyKind(data[0] if data else 0), data[1:])
    if not line.startswith(_START) or signer.key.key_id.hex() != key_id:
        raise ValueError("not a key line, or with the id of another key")
    return signer
