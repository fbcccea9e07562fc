"""What a key holder keeps on disk: manifests, its shares, and drafts of shares to come.

    manifests/<epoch>.json                 the signed manifest of an epoch: which key is used
    shares/<epoch>.<generation>.share      our secret share of it, mode 0600
    drafts/<session>.share                 our share of a key whose manifest is not yet signed

A set-up ends in these steps, and a crash after any of them leaves an epoch that works:

    1  the draft is written            the former share and manifest are untouched
    2  all holders sign the manifest
    3  the share is written            under a name of its own, beside the former one
    4  the manifest is replaced        this one step, done whole, puts the new share in use
    5  former share and draft go       only here is anything destroyed

`activate` does 3 to 5 and may be repeated. Files are found by name, but judged by what
they say: which epoch is in force goes by the validity in the manifest alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.atrest.secrets import open_secret, write_secret
from compliance.errors import LogCorruptError, UnknownEpochError
from compliance.files import DIRECTORY_MODE, write_atomically
from protocols.epoch.manifest import EpochManifest, SignedManifest, verify_manifest
from protocols.epoch.succession import verify_numbers, verify_succession
from protocols.errors import OutOfTurnError, ProtocolError
from protocols.group.interface import Group
from protocols.group.select import load_group
from protocols.oprf.records import KeyRecord, KeyShare
from protocols.oprf.threshold import load_share

T = TypeVar("T")
_MANIFEST = ".json"
_SHARE = ".share"
_GONE = ".gone"


class EpochStore:
    """One holder's epochs, in one directory that no other user may enter.

    Durability: every writing method returns when its file is on disk. Concurrency: any
    number of processes may read while one writes; they see the epoch before or after.
    """

    def __init__(self, directory: Path, group: Group | None = None) -> None:
        self._manifests = directory / "manifests"
        self._shares = directory / "shares"
        self._drafts = directory / "drafts"
        for folder in (directory, self._manifests, self._shares, self._drafts):
            folder.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        for folder in (self._shares, self._drafts):
            _finish_destroying(folder)
        self._group = load_group() if group is None else group
        self._read_manifests = _Files(_parse_manifest)
        self._read_shares = _Files(self._parse_share)

    def keep_draft(self, session: bytes, share: KeyShare) -> None:
        """Keep a share until its manifest is signed; durable on return.

        Raises:
            OutOfTurnError: the session has left another draft; a session is used once.
        """
        kept = self.draft(session)
        if kept is not None and kept.encode() != share.encode():
            raise OutOfTurnError("draft: the session has one already; start a new session")
        if kept is None:
            write_secret(self._draft_path(session), share.encode())

    def draft(self, session: bytes) -> KeyShare | None:
        """Return the draft that a session left, if any."""
        path = self._draft_path(session)
        return self._parse_share(path, path.read_bytes()) if path.exists() else None

    def drop_draft(self, session: bytes) -> None:
        """Destroy the draft of a set-up that came to nothing."""
        _destroy_all(self._drafts, session.hex())

    def activate(
        self, signed: SignedManifest, identities: Mapping[str, Ed25519PublicKey]
    ) -> EpochManifest:
        """Put an epoch, or new shares of one, into use; the same again changes nothing.

        Its draft becomes the share, and the former share of the same epoch is destroyed.

        Raises:
            ProtocolError: the manifest does not verify, or may not follow what is here.
            UnknownEpochError: there is no draft and no share of this key.
        """
        manifest = verify_manifest(signed, identities, group=self._group)
        self._check_succession(manifest)
        self._promote(manifest.record)
        write_atomically(self._manifest_path(manifest.epoch), signed.format())
        self._clear_former(manifest.record)
        return manifest

    def current(self, now: int) -> EpochManifest:
        """Return the manifest under which new requests are made at `now`.

        Where two are in force it is that of the later epoch.

        Raises:
            UnknownEpochError: none is in force.
        """
        covering = [found for found in self._all() if found.covers(now)]
        if not covering:
            raise UnknownEpochError("no epoch is in force; make the key of one with the holders")
        return max(covering, key=lambda manifest: manifest.epoch)

    def served(self, now: int) -> tuple[EpochManifest, ...]:
        """Return the manifests under which holders answer at `now`, by rising epoch."""
        return tuple(found for found in self._all() if found.serves(now))

    def manifest(self, epoch: int) -> EpochManifest:
        """Return the manifest of an epoch, whether it is in force or not.

        Raises:
            UnknownEpochError: there is none.
        """
        return self._load(epoch)[1]

    def signed(self, epoch: int) -> SignedManifest:
        """Return the manifest of an epoch with its signatures, as partners are given it.

        Raises:
            UnknownEpochError: there is none.
        """
        return self._load(epoch)[0]

    def epochs(self) -> tuple[int, ...]:
        """Return the numbers of all epochs that have a manifest here, rising."""
        return tuple(sorted(int(path.stem) for path in self._manifests.glob(f"[0-9]*{_MANIFEST}")))

    def share(self, epoch: int) -> KeyShare:
        """Return our share of an epoch, the one that its manifest names.

        Raises:
            UnknownEpochError: no such epoch, or its share was destroyed.
            LogCorruptError: the file holds something else.
        """
        record = self.manifest(epoch).record
        path = self._share_path(record)
        share = self._read_shares.read(path)
        if share is None:
            raise UnknownEpochError(f"epoch {epoch}: its share was destroyed, or was never here")
        if share.record != record:
            raise LogCorruptError(f"{path.name}: holds the share of another key; restore it")
        return share

    def destroy_share(self, epoch: int) -> None:
        """Destroy our shares of an epoch for good; its manifest stays.

        Privacy:
            The bytes are overwritten before the file goes. Copies that a file system, a
            flash disk or a backup made by itself are beyond reach.
        """
        _destroy_all(self._shares, f"{epoch}.*")

    def destroy_expired(self, now: int) -> tuple[int, ...]:
        """Destroy the shares of all epochs that are no longer served; return their numbers."""
        gone = []
        for manifest in self._all():
            over = now >= manifest.not_after + manifest.grace_s
            if over and _destroy_all(self._shares, f"{manifest.epoch}.*"):
                gone.append(manifest.epoch)
        return tuple(gone)

    def _all(self) -> list[EpochManifest]:
        return [self.manifest(epoch) for epoch in self.epochs()]

    def _load(self, epoch: int) -> tuple[SignedManifest, EpochManifest]:
        path = self._manifest_path(epoch)
        found = self._read_manifests.read(path)
        if found is None:
            raise UnknownEpochError(f"epoch {epoch}: no manifest of it is here")
        if found[1].epoch != epoch:
            raise LogCorruptError(f"{path.name}: holds the manifest of epoch {found[1].epoch}")
        return found

    def _check_succession(self, manifest: EpochManifest) -> None:
        known = {found.epoch: found for found in self._all()}
        former = known.pop(manifest.epoch, None)
        if former is not None and former.digest != manifest.digest:
            verify_succession(former, manifest)
        for found in known.values():
            # A refresh of an epoch may come after the key of the next was made.
            if former is None or found.epoch < manifest.epoch:
                verify_succession(found, manifest)
            else:
                verify_numbers(manifest.contributors, found.contributors)

    def _promote(self, record: KeyRecord) -> None:
        """Write the share beside the former one, unless an earlier try has."""
        for path in self._drafts.glob(f"*{_SHARE}"):
            share = self._parse_share(path, path.read_bytes())
            if share.record == record:
                write_secret(self._share_path(record), share.encode())
                return
        share_here = self._read_shares.read(self._share_path(record))
        if share_here is None or share_here.record != record:
            raise UnknownEpochError(
                f"epoch {record.epoch}: no draft of its key is here; repeat the key set-up"
            )

    def _clear_former(self, record: KeyRecord) -> None:
        _destroy_all(self._shares, f"{record.epoch}.*", spare=self._share_path(record))
        for path in self._drafts.glob(f"*{_SHARE}"):
            found = self._parse_share(path, path.read_bytes()).record
            # Drafts of other epochs, and of a refresh yet to come, are still wanted.
            if found.epoch == record.epoch and found.generation <= record.generation:
                _destroy_all(self._drafts, path.stem)

    def _parse_share(self, path: Path, data: bytes) -> KeyShare:
        try:
            return load_share(self._group, open_secret(path, data))
        except ProtocolError as error:
            raise LogCorruptError(
                f"{path.name}: not the share that was written; {error}"
            ) from error

    def _manifest_path(self, epoch: int) -> Path:
        return self._manifests / f"{epoch}{_MANIFEST}"

    def _share_path(self, record: KeyRecord) -> Path:
        return self._shares / f"{record.epoch}.{record.generation}{_SHARE}"

    def _draft_path(self, session: bytes) -> Path:
        return self._drafts / f"{session.hex()}{_SHARE}"


class _Files(Generic[T]):
    """Reads files that are replaced as a whole, and each of them once until it is replaced."""

    def __init__(self, parse: Callable[[Path, bytes], T]) -> None:
        self._parse = parse
        self._kept: dict[Path, tuple[tuple[int, int, int], T]] = {}

    def read(self, path: Path) -> T | None:
        """Return what is in the file, or None if there is none."""
        try:
            # Looked at first: this is asked several times for every lookup.
            kept = self._kept.get(path)
            if kept is not None and kept[0] == _mark(path.stat()):
                return kept[1]
            with path.open("rb") as file:
                mark = _mark(os.fstat(file.fileno()))
                value = self._parse(path, file.read())
        except FileNotFoundError:
            self._kept.pop(path, None)  # what was destroyed must not live on in memory
            return None
        self._kept[path] = (mark, value)
        return value


def _mark(status: os.stat_result) -> tuple[int, int, int]:
    """Return what is another once a file is replaced."""
    return status.st_ino, status.st_mtime_ns, status.st_size


def _parse_manifest(path: Path, data: bytes) -> tuple[SignedManifest, EpochManifest]:
    try:
        signed = SignedManifest.parse(data)
        return signed, EpochManifest.decode(signed.manifest_bytes)
    except ProtocolError as error:
        raise LogCorruptError(f"{path.name}: not the manifest that was written; {error}") from error


def _destroy_all(folder: Path, stem: str, *, spare: Path | None = None) -> bool:
    """Destroy shares by the beginning of their names, and what a cut short write left of them.

    Returns:
        Whether there was any.
    """
    patterns = (f"{stem}{_SHARE}", f".{stem}{_SHARE}.*")
    paths = [path for pattern in patterns for path in folder.glob(pattern) if path != spare]
    for path in paths:
        # It loses its name first, so that no reader finds a share of zeros under it.
        path.replace(path.with_name(f".{path.name.lstrip('.')}{_GONE}"))
    if paths:
        _finish_destroying(folder)
    return bool(paths)


def _finish_destroying(folder: Path) -> None:
    """Overwrite and remove what has lost its name, also in a process that was killed."""
    found = list(folder.glob(f".*{_GONE}"))
    for path in found:
        with suppress(FileNotFoundError):  # another process was as quick
            _overwrite(path)
            path.unlink()
    if found:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())
