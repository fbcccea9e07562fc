"""Small documents under names: in a directory, or wherever else an owner keeps them.

What is kept here is small and read often: agreements, policies, partners, invitations. Stores
that stand over a shelf hold the rules; a shelf only keeps bytes. `FileShelf` is the one of a
node, and of whatever several processes of one machine share; a hub keeps its own in its
database (`server.keeping`).

Durability: a writing method returns when the document is kept for good. Order: none between
names. Concurrency: any number of threads and processes; a document is there whole, or as it
was before. `put_new` lets exactly one of several writers win.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from compliance.files import DIRECTORY_MODE, FILE_MODE, write_atomically

Stamp = tuple[str, object]
"""A name, and something that is another once the document is another."""


class Shelf(Protocol):
    """Keeps documents by name; a name may have one folder before it (`profiles/x.json`)."""

    def get(self, name: str) -> bytes | None:
        """Return a document, or None if there is none."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Keep a document, in place of the one of that name if there is one."""
        ...

    def put_new(self, name: str, data: bytes) -> bool:
        """Keep a document unless there is one of that name; tell whether it was kept."""
        ...

    def names(self, folder: str = "") -> Sequence[str]:
        """Return the whole names of all documents that stand directly in a folder, sorted."""
        ...

    def stamps(self) -> Sequence[Stamp]:
        """Return the stamps of all documents that stand in no folder, sorted; reads none."""
        ...


class FileShelf:
    """A shelf whose documents are the files of a directory, which is made when it is needed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(self, name: str) -> bytes | None:
        """Return a document, or None if there is none."""
        try:
            return (self.directory / name).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, name: str, data: bytes) -> None:
        """Keep a document, in place of the one of that name if there is one."""
        write_atomically(self.directory / name, data)

    def put_new(self, name: str, data: bytes) -> bool:
        """Keep a document unless there is one of that name; tell whether it was kept."""
        path = self.directory / name
        path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)  # fails where a file is: of several writers one is first
            except FileExistsError:
                return False
        finally:
            draft.unlink(missing_ok=True)
        _sync(path.parent)
        return True

    def names(self, folder: str = "") -> Sequence[str]:
        """Return the whole names of all documents that stand directly in a folder, sorted."""
        place = self.directory / folder
        if not place.is_dir():
            return []
        start = f"{folder}/" if folder else ""
        with os.scandir(place) as entries:
            return sorted(f"{start}{entry.name}" for entry in entries if _is_kept(entry))

    def stamps(self) -> Sequence[Stamp]:
        """Return the stamps of all documents that stand in no folder, sorted; reads none."""
        if not self.directory.is_dir():
            return []
        with os.scandir(self.directory) as entries:
            found = [(entry.name, entry.stat()) for entry in entries if _is_kept(entry)]
        return sorted((name, (at.st_ino, at.st_size, at.st_mtime_ns)) for name, at in found)


def shelf_of(place: Path | Shelf) -> Shelf:
    """Return a shelf; a path stands for the files of that directory."""
    return FileShelf(place) if isinstance(place, Path) else place


def _is_kept(entry: os.DirEntry[str]) -> bool:
    # What begins with a dot is being written, and may be gone at the next look.
    return entry.name[0] != "." and entry.is_file()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
