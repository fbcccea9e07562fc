"""Taking over what earlier versions of a hub kept as files.

Everything is put into the database in one commit; then the files are moved to
`HUB/taken-over/`, where nothing reads them and the operator may delete them. A crash in
between leaves files whose contents the database has already: taken over again, they change
nothing, since what the database has is never replaced by a file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from compliance.files import DIRECTORY_MODE
from compliance.journal import Journal
from compliance.state.database import StateDatabase

TAKEN: Final = "taken-over"
_BOOK: Final = Path("holder") / "book.journal"
_ISSUED: Final = Path("authority") / "issued.jsonl"
_REVOKED: Final = Path("authority") / "revoked.crl"
_FOLDERS: Final = ("partners", "enrolment", "agreements", "policies", "documents")
_EPOCHS: Final = tuple(Path("holder") / name for name in ("contributors.json", "delivered.json"))
_ACKNOWLEDGED: Final = "tables/*/*/acknowledgements"
_log = logging.getLogger("lianfang.keeping")


def take_over(root: Path, database: StateDatabase, book: str) -> None:
    """Put what lies in a hub's directory by an older layout into its database.

    Args:
        book: name of the journal of admitted requests.

    Raises:
        StateUnavailableError, LogCorruptError: nothing was moved; the files are as they were.
    """
    old = _old(root)
    if not old:
        return
    with database.transaction():
        for folder, name, data in _documents(root):
            database.documents(folder).put_new(name, data)
        if (root / _BOOK).exists():
            _take_book(root / _BOOK, database, book)
    for path in old:
        _move(root, path)
    _log.warning("took %d files and folders of an older version over into the database", len(old))


def _old(root: Path) -> list[Path]:
    single = [Path(name) for name in _FOLDERS] + [_BOOK, _ISSUED, _REVOKED, *_EPOCHS]
    found = [path for path in single if (root / path).exists()]
    return found + [path.relative_to(root) for path in root.glob(_ACKNOWLEDGED)]


def _documents(root: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield folder, name and contents of every document that lies there as a file."""
    for folder in _FOLDERS:
        yield from ((folder, name, data) for name, data in _files(root / folder))
    for path in _EPOCHS:
        if (root / path).exists():
            yield "epochs", path.name, (root / path).read_bytes()
    if (root / _REVOKED).exists():
        yield "revoked", _REVOKED.name, (root / _REVOKED).read_bytes()
    if (root / _ISSUED).exists():
        yield from _issued((root / _ISSUED).read_text())
    for place in root.glob(_ACKNOWLEDGED):
        start = f"{place.parent.parent.name}/{place.parent.name}"
        for name, data in _files(place):
            if name.endswith(".signed"):
                yield "acknowledgements", f"{start}/{name}", data


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        # What begins with a dot was being written when the process was killed.
        if path.is_file() and not path.name.startswith("."):
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _issued(text: str) -> Iterator[tuple[str, str, bytes]]:
    for line in text.split("\n"):
        try:
            found = json.loads(line)
        except ValueError:
            continue  # empty, or cut off by a crash: that certificate was never given away
        if isinstance(found, dict) and isinstance(found.get("serial"), str):
            yield "issued", found["serial"], json.dumps(found).encode()


def _take_book(path: Path, database: StateDatabase, name: str) -> None:
    old, new = Journal(path), database.journal(name)
    try:
        with old.exclusive() as records, new.exclusive() as there:
            if there:
                return
            for record in records:
                new.append(record)
    finally:
        old.close()
        new.close()


def _move(root: Path, path: Path) -> None:
    target = root / TAKEN / path
    target.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    number = 0
    while target.exists():  # what was taken over before stays as it was
        number += 1
        target = root / TAKEN / path.with_name(f"{path.name}.{number}")
    (root / path).rename(target)
