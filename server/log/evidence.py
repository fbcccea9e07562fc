"""What the hub shows of its log about one document, and whose key its log has.

A client asks before it uses an epoch: the epoch is entered before it is in force, and the
evidence is there as soon as a checkpoint that covers the entry is published.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.log.errors import EntryPrunedError
from compliance.log.storage import Place
from compliance.log.tree import StoredTree
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.entry import Entry, Outcome
from protocols.tlog.evidence import make_evidence
from protocols.tlog.logkey import sign_log_key, split_year
from protocols.tlog.note import Note
from protocols.tlog.proof import LogProof
from server.log.opening import HubLog


def read_evidence(log: HubLog, document: bytes) -> bytes | None:
    """Return the first published entry that puts a document on record, with its proof.

    Args:
        document: SHA-256 of the document.

    Returns:
        None if no published checkpoint covers such an entry yet.
    """
    for place in log.storage.find_documents(document):
        if split_year(place.origin)[0] != log.prefix:
            continue
        found = _evidence(log, place)
        if found is not None:
            return found
    return None


def signed_key(log: HubLog, identity: Ed25519PrivateKey, hub: str) -> bytes:
    """Return the hub's word on which key signs its log."""
    return sign_log_key(identity, hub=hub, log=log.prefix, public=log.key.public).format()


def _evidence(log: HubLog, place: Place) -> bytes | None:
    data = log.storage.checkpoint(place.origin)
    if data is None:
        return None
    note = Note.decode(data)
    size = Checkpoint.parse(note.text).size
    if place.index >= size:
        return None
    try:
        (entry,) = log.storage.entries(place.origin, place.index, place.index + 1)
    except EntryPrunedError:
        return None
    if Entry.decode(entry).outcome is not Outcome.DONE:
        return None  # what was refused or failed puts nothing on record
    tree = StoredTree(log.storage, place.origin, size)
    return make_evidence(
        LogProof(place.index, tuple(tree.prove_inclusion(place.index)), note), entry
    )
