"""What a holder hands to an auditor: its book about one asker in one epoch.

The paper goes from the holder straight to the auditor, not by way of the asker. It names
no person: digests of blinded batches, counts, purposes, and salted commitments to cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from compliance.evaluations.book import BOOK, BookEntry, EvaluationBook
from compliance.evaluations.store import EpochStore
from compliance.records import Records
from protocols.codec import canonical_json, parse_json
from protocols.epoch.grants import MAX_WHOLE, read_fields, read_hex
from protocols.errors import MalformedMessageError
from protocols.lookup.request import CASE_SIZE, Purpose
from protocols.lookup.signing import DIGEST_SIZE, check_name, check_whole
from protocols.oprf.messages import REQUEST_ID_SIZE
from protocols.oprf.suite import MAX_BATCH

FORMAT = "lianfang/evaluations/evidence/v1"
_SUBJECT = "evidence"


@dataclass(frozen=True, slots=True)
class EvidenceEntry:
    """One request as a holder logged it before it answered."""

    request_id: bytes
    batch_digest: bytes
    count: int
    purpose: Purpose
    case: bytes
    at: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """A holder's book about one asker in one epoch."""

    holder: str
    asker: str
    epoch: int
    entries: tuple[EvidenceEntry, ...]

    def format(self) -> bytes:
        """Write it as one JSON object."""
        entries = [
            {
                "request_id": entry.request_id.hex(),
                "batch_digest": entry.batch_digest.hex(),
                "count": entry.count,
                "purpose": entry.purpose,
                "case": entry.case.hex(),
                "at": entry.at,
            }
            for entry in self.entries
        ]
        head = {"format": FORMAT, "holder": self.holder, "asker": self.asker, "epoch": self.epoch}
        return canonical_json(head | {"entries": entries})

    @classmethod
    def parse(cls, data: bytes) -> Evidence:
        """Read what `format` wrote.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        names = {"format", "holder", "asker", "epoch", "entries"}
        value = read_fields(parse_json(data, _SUBJECT), names, _SUBJECT)
        if value["format"] != FORMAT or not isinstance(value["entries"], list):
            raise MalformedMessageError(f"{_SUBJECT}: format must be {FORMAT}, entries a list")
        check_name(value["holder"], f"{_SUBJECT}: holder")
        check_name(value["asker"], f"{_SUBJECT}: asker")
        check_whole(value["epoch"], f"{_SUBJECT}: epoch", most=MAX_WHOLE)
        entries = tuple(_entry(item, row) for row, item in enumerate(value["entries"], 1))
        if len({entry.request_id for entry in entries}) != len(entries):
            raise MalformedMessageError(f"{_SUBJECT}: a request stands in it twice")
        return cls(value["holder"], value["asker"], value["epoch"], entries)


def read_evidence(
    folder: Path,
    holder: str,
    asker: str,
    epoch: int,
    *,
    journal: Callable[[], Records] | None = None,
) -> bytes:
    """Write down what a holder's book says about one asker in one epoch.

    Args:
        folder: where the holder's epochs lie; it must be a holder's already.
        journal: opens the book, where it does not lie there too.

    Raises:
        UnknownEpochError: no such epoch is known there.
    """
    EpochStore(folder).manifest(epoch)
    with closing(EvaluationBook(journal or folder / BOOK)) as book:
        entries = book.entries(epoch)
    return evidence_of(holder, asker, epoch, entries).format()


def evidence_of(holder: str, asker: str, epoch: int, book: Sequence[BookEntry]) -> Evidence:
    """Take what a holder's book says about one asker in one epoch."""
    entries = (
        EvidenceEntry(
            entry.request_id, entry.batch_digest, entry.count, entry.purpose, entry.case, entry.at
        )
        for entry in book
        if (entry.asker, entry.epoch) == (asker, epoch)
    )
    return Evidence(holder, asker, epoch, tuple(entries))


def _entry(value: object, row: int) -> EvidenceEntry:
    subject = f"{_SUBJECT}: entry {row}"
    names = {"request_id", "batch_digest", "count", "purpose", "case", "at"}
    fields = read_fields(value, names, subject)
    check_whole(fields["count"], f"{subject}: count", least=1, most=MAX_BATCH)
    check_whole(fields["at"], f"{subject}: at", most=MAX_WHOLE)
    try:
        purpose = Purpose(fields["purpose"])
    except ValueError as error:
        raise MalformedMessageError(f"{subject}: unknown purpose") from error
    return EvidenceEntry(
        read_hex(fields["request_id"], f"{subject}: request_id", REQUEST_ID_SIZE),
        read_hex(fields["batch_digest"], f"{subject}: batch_digest", DIGEST_SIZE),
        fields["count"],
        purpose,
        read_hex(fields["case"], f"{subject}: case", CASE_SIZE),
        fields["at"],
    )
