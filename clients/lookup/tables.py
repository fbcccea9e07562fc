"""The contributors' tables on this node's disk: fetched, verified, searched in place.

    lookup/tables/<epoch>/<contributor>/<version>.table   records, mapped and never changed
    lookup/tables/<epoch>/<contributor>/current           the signed header of the one in force

A table comes into force only when its contributor's pinned key signed the header and the
whole file has the signed root. Durability: the file is on disk before `current` names it,
so that a process killed anywhere leaves the former version or the new one. A version never
falls; two tables signed for one version are an alarm.
"""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clients.lookup.alarms import Alarm, AlarmKind, Alarms
from clients.lookup.api import HubApi, HubRefusedError, TableEntry
from clients.lookup.trust import ALARMS, Trust
from clients.node.files import exclusive, make_private_directory
from clients.node.home import Home
from compliance.configuration import ConfigError
from compliance.errors import ComplianceError, NotPermittedError
from compliance.files import write_atomically
from protocols.epoch.manifest import EpochManifest
from protocols.errors import InvalidProofError, MalformedMessageError, ProtocolError
from protocols.lookup.delta import Delta, merge
from protocols.lookup.derivation import derive_tags
from protocols.lookup.payload import Payload, Slot
from protocols.lookup.record import RECORD_SIZE, open_record
from protocols.lookup.table import (
    SignedHeader,
    TableHeader,
    check_table,
    find,
    tag_prefixes,
    verify_header,
)


class ForkedTableError(NotPermittedError):
    """A contributor signed two tables for one version; call it before anything else."""

    code: ClassVar[str] = "forked_table"


@dataclass(slots=True)
class Table:
    """One contributor's table in force, mapped from its file."""

    header: TableHeader
    data: bytes | mmap.mmap = field(repr=False)
    _prefixes: NDArray[np.uint64] | None = field(default=None, repr=False)

    def payloads(self, root: bytes) -> list[Payload]:
        """Return what the contributor says about one identifier: nothing, or up to two records.

        Raises:
            InvalidProofError: a record under the identifier's tag does not open.
        """
        found = []
        for slot, tag in zip(Slot, derive_tags(root, self.header.number), strict=True):
            record = find(self.data, tag)
            if record is not None:
                found.append(open_record(root, self.header.epoch, self.header.number, slot, record))
        return found

    def candidates(self, tags: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether an identifier may have a record, by the beginnings of its tags.

        Shapes:
            tags: (n, 2); result: (n,). A true one is confirmed by `payloads`.
        """
        if self._prefixes is None:
            self._prefixes = tag_prefixes(self.data)
        if not len(self._prefixes):
            return np.zeros(len(tags), np.bool_)
        found = np.zeros(len(tags), np.bool_)
        for slot in range(tags.shape[1]):
            # Sorted questions walk through the table once; unsorted ones jump about in it.
            order = np.argsort(tags[:, slot])
            wanted = tags[order, slot]
            at = np.searchsorted(self._prefixes, wanted).clip(max=len(self._prefixes) - 1)
            found[order] |= self._prefixes[at] == wanted
        return found


@dataclass(frozen=True, slots=True)
class Change:
    """What a synchronisation did for one contributor; version 0 before the first table."""

    contributor: str
    before: int
    after: int
    count: int


class TableStore:
    """All tables of one node."""

    def __init__(self, home: Home, trust: Trust) -> None:
        self._home = home
        self._trust = trust
        self._root = make_private_directory(home.root / "lookup" / "tables")
        self._open: dict[tuple[int, str], Table] = {}

    def sync(self, api: HubApi, manifest: EpochManifest, now: int) -> list[Change]:
        """Bring every contributor's table to the newest version that the hub has.

        One contributor's fault keeps no other's table from being fetched; the first fault is
        raised at the end.

        Raises:
            InvalidProofError: a signature, root or list does not hold.
            ForkedTableError: a contributor signed two truths; an alarm is raised.
            TransportError: the hub stays away; what was fetched is kept.
        """
        tables = api.tables(manifest.epoch)
        self._trust.verify_list(tables, manifest)
        changes, faults = [], list[Exception]()
        for entry in tables.entries:
            try:
                changes.append(self._sync_one(api, manifest, entry, now))
            except (ConfigError, ProtocolError, ComplianceError, HubRefusedError) as error:
                faults.append(error)
        if faults:
            raise faults[0]
        return changes

    def tables(self, manifest: EpochManifest) -> dict[str, Table]:
        """Return the tables in force, by contributor."""
        found = {name: self._table(manifest.epoch, name) for name in manifest.contributors}
        return {name: table for name, table in found.items() if table is not None}

    def forget(self, epoch: int) -> None:
        """Remove all tables of an epoch that is over."""
        shutil.rmtree(self._root / str(epoch), ignore_errors=True)
        self._open = {key: table for key, table in self._open.items() if key[0] != epoch}

    def _sync_one(
        self, api: HubApi, manifest: EpochManifest, entry: TableEntry, now: int
    ) -> Change:
        name = entry.contributor
        header = verify_entry(self._trust, entry, manifest)
        folder = make_private_directory(self._root / str(manifest.epoch) / name)
        with exclusive(folder):
            signed = _current(folder)
            before = 0 if signed is None else signed.header.version
            if signed is not None and self._is_known(signed.header, header, now):
                return Change(name, before, before, signed.header.count)
            path = folder / f"{header.version}.table"
            if signed is None or not self._step(api, signed, header, path):
                self._fetch_whole(api, header, path)
            write_atomically(folder / "current", entry.header.encode())
            for old in folder.glob("*.table"):
                if old != path:
                    old.unlink()
        return Change(name, before, header.version, header.count)

    def _is_known(self, ours: TableHeader, theirs: TableHeader, now: int) -> bool:
        """Whether nothing is to be fetched: the same version, or the hub is behind."""
        if theirs.version == ours.version and theirs.digest != ours.digest:
            self._alarm(theirs, now)
        return theirs.version <= ours.version

    def _alarm(self, header: TableHeader, now: int) -> None:
        text = f"{header.contributor} signed two tables for version {header.version}"
        alarms = Alarms(self._home.root / ALARMS)
        alarms.raise_alarm(Alarm(AlarmKind.FORKED_TABLE, now, header.contributor, text))
        alarms.close()
        raise ForkedTableError(f"{text}; call it before anything else")

    def _step(self, api: HubApi, signed: SignedHeader, header: TableHeader, path: Path) -> bool:
        """Make the new table from the one at hand; False if the whole must be fetched."""
        ours = path.with_name(f"{signed.header.version}.table")
        if not ours.exists():
            return False
        try:
            version = signed.header.version
            delta = api.delta(header.epoch, header.contributor, header.version, version)
            if not _leads(delta, signed.header, header):
                return False
            with ours.open("rb") as file:
                _write_durably(path, merge(_mapped(file.fileno()), delta))
            _check(header, path)
        except (HubRefusedError, InvalidProofError, MalformedMessageError):
            # Too old a version for the hub, or a file of ours that is damaged.
            path.unlink(missing_ok=True)
            return False
        return True

    def _fetch_whole(self, api: HubApi, header: TableHeader, path: Path) -> None:
        draft = path.with_name(f".{header.root.hex()}")  # a fetch that broke off goes on here
        with draft.open("ab+") as sink:
            api.table(header.epoch, header.contributor, header.version, sink)
            sink.flush()
            os.fsync(sink.fileno())
        try:
            _check(header, draft)
        except (InvalidProofError, MalformedMessageError):
            draft.unlink()
            raise
        draft.replace(path)

    def _table(self, epoch: int, name: str) -> Table | None:
        try:
            return self._opened(epoch, name)
        except FileNotFoundError:
            # Another process of this node has just put a newer version in its place.
            return self._opened(epoch, name)

    def _opened(self, epoch: int, name: str) -> Table | None:
        folder = self._root / str(epoch) / name
        signed = _current(folder)
        if signed is None:
            return None
        known = self._open.get((epoch, name))
        if known is None or known.header != signed.header:
            with (folder / f"{signed.header.version}.table").open("rb") as file:
                data = _mapped(file.fileno())
            if len(data) != signed.header.count * RECORD_SIZE:
                raise InvalidProofError(f"table of {name}: damaged on this disk; sync again")
            known = self._open[epoch, name] = Table(signed.header, data)
        return known


def verify_entry(trust: Trust, entry: TableEntry, manifest: EpochManifest) -> TableHeader:
    """Return the header of an entry if its contributor signed it for this epoch.

    Raises:
        InvalidProofError: it did not, or the entry names another contributor or number.
        ConfigError: no key of the contributor is pinned.
    """
    name = entry.contributor
    header = verify_header(trust.identity(name), entry.header)
    promised = (manifest.hub, manifest.epoch, name, manifest.contributors.get(name))
    if (header.hub, header.epoch, header.contributor, header.number) != promised:
        raise InvalidProofError(f"table of {name}: signed for another hub, epoch or number")
    return header


def _leads(delta: Delta, before: TableHeader, after: TableHeader) -> bool:
    starts = delta.before is not None and delta.before.header.digest == before.digest
    return starts and delta.after.header.digest == after.digest


def _current(folder: Path) -> SignedHeader | None:
    try:
        return SignedHeader.decode((folder / "current").read_bytes())
    except FileNotFoundError:
        return None


def _check(header: TableHeader, path: Path) -> None:
    with path.open("rb") as file:
        check_table(header, _mapped(file.fileno()))


def _mapped(descriptor: int) -> bytes | mmap.mmap:
    # An empty file cannot be mapped.
    if not os.fstat(descriptor).st_size:
        return b""
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _write_durably(path: Path, pieces: Iterable[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
