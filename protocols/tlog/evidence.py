"""Evidence that a public document is on record: its entry, and the proof that the log has it.

The form is a C2SP tlog-proof whose extra data are the entry itself, byte for byte. Nothing
vouches for extra data; here the inclusion proof does, since the entry is what it leads from.

Source:
    C2SP tlog-proof (https://c2sp.org/tlog-proof), C2SP@0065ea5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.entry import Entry
from protocols.tlog.policy import Policy, Witnessed
from protocols.tlog.proof import LogProof, verify_proof


@dataclass(frozen=True, slots=True)
class OnRecord:
    """An entry that stands in a witnessed log and names a document."""

    entry: Entry
    witnessed: Witnessed


def make_evidence(proof: LogProof, entry: bytes) -> bytes:
    """Write the evidence of one entry."""
    return replace(proof, extra=entry).encode()


def read_origin(data: bytes) -> str:
    """Return which log the evidence claims to be of, before a policy for it is chosen.

    Raises:
        MalformedMessageError: it is no evidence.
    """
    return LogProof.decode(data).note.text.partition("\n")[0]


def verify_evidence(data: bytes, document: bytes, policy: Policy) -> OnRecord:
    """Return the entry that puts a document on record, if its log is one of the policy's.

    Args:
        document: SHA-256 of the document.

    Raises:
        MalformedMessageError: it is no evidence, or carries no entry.
        InvalidProofError: signatures, quorum or inclusion do not hold, or the entry is about
            something else.
    """
    proof = LogProof.decode(data)
    if proof.extra is None:
        raise MalformedMessageError("evidence: carries no entry")
    witnessed = verify_proof(proof, proof.extra, policy)
    entry = Entry.decode(proof.extra)
    if entry.sequence != proof.index:
        raise InvalidProofError(
            f"evidence: entry {entry.sequence} stands at {proof.index} of the log"
        )
    if entry.document != document:
        raise InvalidProofError("evidence: the entry names another document")
    return OnRecord(entry, witnessed)
