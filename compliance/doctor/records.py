"""The log and the databases: there, whole as far as a look tells, recent, and not ahead of us.

What follows all entries is `lianfang audit verify`; here only ends are compared: the log's with
its second place, with its published checkpoint, and with this machine's clock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from compliance.atrest.errors import SealedKeysError
from compliance.backup.settled import restored
from compliance.doctor.seen import DAY_S, FAIL, PASS, WARN, Seen, aged, ago
from compliance.log.second import FileCheckpoints
from compliance.log.storage import Storage
from compliance.office.keys import LOG_KEY, PARTS_KEY, open_keys
from compliance.state.migrating import HEAD, REVISIONS
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import verify_signers
from protocols.tlog.entry import Entry
from protocols.tlog.note import Note, VerifierKey

# Clocks of witnesses are of other machines; ours may be off by as much.
CLOCK_S = 60
_OLD_CHECKPOINT_S = DAY_S
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"


def newest_of(storage: Storage, prefix: str) -> str | None:
    """Return the newest log of these years, or None if nothing was ever entered."""
    years = [origin for origin in storage.origins() if origin.startswith(f"{prefix}/")]
    return max(years, default=None)


def keys_are_readable(folder: Path) -> Seen:
    """Whether the log's keys are there and can be used."""
    if not (folder / LOG_KEY).exists() and not (folder / PARTS_KEY).exists():
        return Seen(PASS, "none yet: they are made with the first entry")
    try:
        open_keys(folder, begun=True)
    except SealedKeysError as error:
        return Seen(WARN, f"sealed, and not opened by this doctor: {error}")
    return Seen(PASS)


def second_place_agrees(storage: Storage, second: Path, origin: str) -> Seen:
    """Whether the log is no shorter than what its second place has seen."""
    data = FileCheckpoints(second).load(origin) if second.is_dir() else None
    size = storage.edge(origin).size
    if data is None:
        return Seen(
            FAIL if size else PASS, "no checkpoint there" if size else "nothing entered yet"
        )
    noted = Checkpoint.parse(Note.decode(data).text)
    if noted.size > size:
        return Seen(FAIL, f"{noted.size} entries there, {size} in the log: it was put back")
    return Seen(PASS, f"{noted.size} of {size} entries")


def is_published(
    storage: Storage, origin: str, witnesses: Iterable[tuple[str, VerifierKey]], now: int
) -> Seen:
    """Whether all entries stand under a checkpoint that witnesses have signed of late."""
    size = storage.edge(origin).size
    data = storage.checkpoint(origin)
    published = 0 if data is None else Checkpoint.parse(Note.decode(data).text).size
    told = f"{published} of {size} entries"
    if published < size:
        waits = now - entered_at(storage, origin, published)
        level = WARN if waits < _OLD_CHECKPOINT_S else FAIL
        return Seen(level, f"{told}; the first of the others was entered {ago(max(0, waits))}")
    listed = list(witnesses)
    if data is None or not listed:
        return Seen(PASS if not listed else WARN, f"{told}, nobody cosigns")
    times = cosigned_at(data, listed)
    silent = sorted({name for name, _ in listed} - set(times))
    if silent:
        return Seen(WARN, f"{told}; not cosigned by {', '.join(silent)}")
    seen = aged(max(0, now - min(times.values())), warn_s=7 * DAY_S)
    return Seen(seen.level, f"{told}, cosigned by all {len(times)}, {seen.found}")


def clock_is_not_behind(
    storage: Storage, origin: str, witnesses: Iterable[tuple[str, VerifierKey]], now: int
) -> Seen:
    """Whether this machine's clock is behind what the log and its witnesses have seen."""
    size = storage.edge(origin).size
    seen = {"the last entry": entered_at(storage, origin, size - 1)} if size else {}
    data = storage.checkpoint(origin)
    if data is not None:
        seen |= {f"witness {name}": at for name, at in cosigned_at(data, witnesses).items()}
    ahead = {who: at - now for who, at in seen.items() if at - now > CLOCK_S}
    if ahead:
        who = max(ahead, key=lambda name: ahead[name])
        return Seen(FAIL, f"{ahead[who]} s behind {who}: it was set back, or is wrong")
    return Seen(PASS, f"not behind {' and '.join(seen)}" if seen else "nothing to compare it with")


def entered_at(storage: Storage, origin: str, place: int) -> int:
    """Return when an entry was entered."""
    (data,) = storage.entries(origin, place, place + 1)
    return Entry.decode(data).time


def cosigned_at(data: bytes, witnesses: Iterable[tuple[str, VerifierKey]]) -> dict[str, int]:
    """Return when each witness signed a checkpoint that names the time of its signature."""
    note = Note.decode(data)
    checkpoint = Checkpoint.parse(note.text)
    found: dict[str, int] = {}
    for name, key in witnesses:
        for signed in verify_signers(checkpoint, note, [key]).values():
            found[name] = max(found.get(name, 0), signed.time)
    return found


def sqlite_is_current(path: Path) -> Seen:
    """Whether a database file is whole and of this version; it is opened for reading alone."""
    if not path.exists():
        return Seen(PASS, "not made yet")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return revision_seen(_revision(connection))
    except sqlite3.DatabaseError as error:
        return Seen(FAIL, f"{path.name} cannot be read ({type(error).__name__})")


def revision_seen(found: str | None) -> Seen:
    """Judge a database by the migration that ran last; None where it has no tables yet."""
    if found is None or found == HEAD:
        return Seen(PASS, "empty" if found is None else f"version {found}")
    if found in REVISIONS:
        return Seen(
            WARN, f"version {found}; it is brought to {HEAD} when the program next opens it"
        )
    return Seen(FAIL, f"version {found[:32]}, made by a later program than this one ({HEAD})")


def is_settled(root: Path) -> Seen:
    """Whether this directory goes on, or was put back from a backup and waits for an officer."""
    found = restored(root)
    if found is None:
        return Seen(PASS)
    return Seen(FAIL, "it was put back from a backup, and what came after that is not made up for")


def _revision(connection: sqlite3.Connection) -> str | None:
    tables = {name for (name,) in connection.execute(_TABLES)}
    if "alembic_version" in tables:
        rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        return str(rows[0][0]) if rows else None
    if "tlog_schema" not in tables:
        return None
    ((number,),) = connection.execute("SELECT version FROM tlog_schema").fetchall()
    return REVISIONS[number - 1] if 0 < number <= len(REVISIONS) else str(number)
