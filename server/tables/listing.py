"""The hub's word on which version of every table is in force, signed and with its time.

A hub that shows one asker an old table would have to sign that it was in force: two such
lists, or a list and a contributor's own header, are the proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.codec import canonical_json
from protocols.lookup.record import RECORD_SIZE
from server.tables.store import Snapshot


def sign_listing(
    identity: Ed25519PrivateKey,
    *,
    hub: str,
    epoch: int,
    at: int,
    snapshots: Sequence[Snapshot],
) -> bytes:
    """Return the list as canonical JSON; the signature covers it without itself."""
    value: dict[str, Any] = {
        "hub": hub,
        "epoch": epoch,
        "at": at,
        "tables": [_entry(snapshot) for snapshot in snapshots],
    }
    signature = identity.sign(canonical_json(value))
    return canonical_json(value | {"signature": signature.hex()})


def _entry(snapshot: Snapshot) -> dict[str, Any]:
    header = snapshot.signed.header
    return {
        "contributor": header.contributor,
        "number": header.number,
        "version": header.version,
        "count": header.count,
        "prefix_bits": header.prefix_bits,
        "root": header.root.hex(),
        "header": snapshot.signed.encode().hex(),
        "bytes": header.count * RECORD_SIZE,
    }
