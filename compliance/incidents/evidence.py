"""What the own log proves of an incident file: each event's entry, under a signed checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compliance.incidents.incident import Incident
from compliance.log.storage import Place, Storage
from compliance.log.tree import StoredTree
from compliance.office.office import Office
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.note import Note
from protocols.tlog.proof import LogProof


@dataclass(frozen=True, slots=True)
class LogEvidence:
    """Signed checkpoints by log, and C2SP log proofs by entry, as text.

    An entry that no published checkpoint covers, or whose log is not here, has no proof.
    """

    checkpoints: dict[str, str]
    proofs: dict[Place, str]


def log_evidence(office: Office, incident: Incident) -> LogEvidence:
    """Publish the own log as far as it goes, and prove every event of an incident.

    Raises:
        StorageError, LogCorruptError, LogConflictError: the log cannot be published.
    """
    office.yearly.checkpoint()
    logs = {event.place.origin for event in incident.events}
    logs |= {span.log for span in incident.affected.evidence}
    notes = dict(_notes(office.storage, sorted(logs)))
    proofs = {}
    for place in (event.place for event in incident.events):
        note = notes.get(place.origin)
        if note is not None and place.index < (size := Checkpoint.parse(note.text).size):
            hashes = StoredTree(office.storage, place.origin, size).prove_inclusion(place.index)
            proof = LogProof(place.index, tuple(hashes), note)
            proofs[place] = proof.encode().decode()
    return LogEvidence({name: note.encode().decode() for name, note in notes.items()}, proofs)


def _notes(storage: Storage, logs: Iterable[str]) -> Iterable[tuple[str, Note]]:
    known = storage.origins()
    for name in logs:
        data = storage.checkpoint(name) if name in known else None
        if data is not None:
            yield name, Note.decode(data)
