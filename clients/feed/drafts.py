"""The next version of the table: what it changes, and the files in which it waits.

A version is drafted once and sent until the hub has it. Its bytes, with nonces, header and
signature, are on disk before the register names it as pending and before anything is sent,
so that a process killed in between sends the very same version again.

Only records whose reports have changed since they were published are looked at, unless the
table begins anew; a record that would say what it says already is left alone.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.feed.merging import merge_reports
from clients.feed.publication import Looked, Publication
from clients.feed.register import Register
from compliance.errors import LogCorruptError
from compliance.files import FILE_MODE, write_atomically
from protocols.epoch.manifest import EpochManifest
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.lookup.delta import Delta, make_delta, merge
from protocols.lookup.derivation import TAG_SIZE, derive_tags
from protocols.lookup.header import SignedHeader, TableHeader
from protocols.lookup.payload import Payload, Slot, month_of
from protocols.lookup.record import NONCE_SIZE, RECORD_SIZE, open_record, seal_record
from protocols.lookup.table import check_table, find
from protocols.oprf.suite import Random

if TYPE_CHECKING:
    from typing_extensions import Buffer  # in collections.abc from Python 3.12 on


@dataclass(slots=True)
class Changes:
    """What differs between the register and the table.

    Attributes:
        looked: every record that was looked at, and the tag it has afterwards.
        left: records that cannot be published yet, because their root is missing.
    """

    removed: set[bytes] = field(default_factory=set)
    upserted: list[bytes] = field(default_factory=list)
    looked: list[Looked] = field(default_factory=list)
    left: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the table stays as it is."""
        return not self.removed and not self.upserted


@dataclass(frozen=True, slots=True)
class Drafter:
    """Finds and writes the changes of one register in one epoch."""

    register: Register
    folder: Path
    identity: Ed25519PrivateKey
    manifest: EpochManifest
    contributor: str
    random: Random

    @property
    def number(self) -> int:
        """The contributor's number; `Publisher` has checked that there is one."""
        return self.manifest.contributors[self.contributor]

    def table(self, header: SignedHeader) -> Path:
        """Name the file of a version's records."""
        return self.folder / f"{header.header.epoch}-{header.header.version}.table"

    def delta(self, header: SignedHeader) -> Path:
        """Name the file of the way to a version."""
        return self.folder / f"{header.header.epoch}-{header.header.version}.delta"

    def changes(self, base: Buffer, now: int) -> Changes:
        """Compare the register with the table as it was last published."""
        found = Changes()
        month = month_of(now)
        rows = self.register.database.execute(
            "SELECT r.identifier, r.slot, r.revision, r.tag, i.token, i.epoch, i.root, i.shared"
            " FROM records r JOIN identifiers i ON i.id = r.identifier"
            " WHERE r.revision > r.published"
        ).fetchall()
        for identifier, slot, revision, tag, token, epoch, root, shared in rows:
            key = (identifier, slot, revision)
            payload = None if shared else self._payload(identifier, token, Slot(slot), month)
            if payload is None:
                found.removed |= {tag} if tag else set()
                found.looked.append((*key, None))
            elif root is None or epoch != self.manifest.epoch:
                found.left += 1
            else:
                opened = self.register.root(token, root)
                found.looked.append((*key, self._seal(base, opened, payload, found)))
        return found

    def _payload(self, identifier: int, token: bytes, slot: Slot, month: int) -> Payload | None:
        return merge_reports(
            self.register.entries(identifier, slot),
            slot=slot,
            contributor=self.number,
            reference=self.register.reference(token, slot),
            month=month,
        )

    def _seal(self, base: Buffer, root: bytes, payload: Payload, found: Changes) -> bytes:
        """Add a record to the changes, unless the table says the same already."""
        epoch = self.manifest.epoch
        tag = derive_tags(root, payload.contributor)[payload.slot]
        there = find(base, tag)
        if there is not None:
            said = open_record(root, epoch, payload.contributor, payload.slot, there)
            if said == payload:
                return tag
        found.upserted.append(seal_record(root, epoch, payload, self.random(NONCE_SIZE)))
        return tag

    def write(self, base: Buffer, before: SignedHeader | None, changes: Changes, now: int) -> Delta:
        """Make the next version and name it as pending; durable when this returns."""
        delta = make_delta(
            self.identity,
            base,
            before,
            hub=self.manifest.hub,
            epoch=self.manifest.epoch,
            contributor=self.contributor,
            number=self.number,
            removed=changes.removed,
            upserted=changes.upserted,
            now=now,
        )
        write_chunks(self.table(delta.after), merge(base, delta))
        write_atomically(self.delta(delta.after), delta.encode())
        Publication(self.register).set_pending(delta.after, changes.looked)
        return delta

    def tidy(self) -> None:
        """Remove the files of versions that are neither published nor pending."""
        publication = Publication(self.register)
        named = (publication.published, publication.pending)
        headers = [header for header in named if header is not None]
        kept = {path for header in headers for path in (self.table(header), self.delta(header))}
        for path in self.folder.iterdir():
            if path not in kept:
                path.unlink()


def tags_of(table: Buffer) -> set[bytes]:
    """Return the tags of all records of a table."""
    data = memoryview(table)
    return {bytes(data[at : at + TAG_SIZE]) for at in range(0, len(data), RECORD_SIZE)}


def table_of(path: Path, header: TableHeader) -> Buffer:
    """Return the table that a header describes.

    Raises:
        LogCorruptError: the file is missing, or is not that table.
    """
    cure = "run `lianfang feed publish --resynchronise`"
    if not path.exists():
        raise LogCorruptError(f"feed tables: the published version is missing; {cure}")
    data = mapped(path)
    try:
        check_table(header, data)
    except (MalformedMessageError, InvalidProofError) as error:
        raise LogCorruptError(f"feed tables: {error}; {cure}") from error
    return data


def mapped(path: Path) -> Buffer:
    """Return a table's records without reading them into memory; an empty file has no map.

    The map is not closed by hand: while an error travels, its frames hold views of it, and
    closing would put a complaint about these in the error's place. It ends with its last view.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def write_chunks(path: Path, chunks: Iterator[bytes]) -> None:
    """Write a file of any size, durably, readable by its owner alone."""
    draft = path.with_name(f".{path.name}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
