"""Fetching the hub's log whole: a copy that only grows, and is verified before it is kept.

    1  the checkpoint is fetched and verified: the pinned key, or the officer's log.policy
    2  it must extend the copy that is there: the root of the former size is computed from the
       hub's own tiles, and so is the root of its new checkpoint
    3  what the copy lacks goes into a directory beside it, which a later fetch goes on with
    4  copy and new files together are verified, every entry and every tile
    5  the new files are moved in, the checkpoint last

A hub that shows less than before, or another history, is refused with an alarm. The copy
stays as it was, and the hub's signed checkpoint is kept: together they are the proof.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from clients.lookup.alarms import Alarm, AlarmKind, raise_once
from clients.lookup.https import HubRefusedError
from clients.lookup.logged import LogPin
from clients.node.home import Home
from clients.output import CommandError
from compliance.configuration import ConfigError
from compliance.files import write_atomically
from compliance.log.export import CHECKPOINT
from compliance.log.verify import MAX_BUNDLE_SIZE, Report, directory_reader, verify_files
from protocols.codec import parse_json
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.lines import HASH_SIZE
from protocols.tlog.logkey import MAX_SIZE, SignedLogKey, split_year
from protocols.tlog.merkle import root_at
from protocols.tlog.note import MAX_NOTE_SIZE, Note
from protocols.tlog.policy import Policy
from protocols.tlog.tiles import FULL, Bundle, Tile, TileNodes, bundles_of, tiles_of

EVIDENCE = "lookup/log-evidence"
_THREADS = 4
_MAX_STATE = 1 << 20
_SUBJECT = "log of the hub"
_NOT_FOUND = "not_found"

Fetch = Callable[[str, int], bytes]
"""Returns what the hub has at a path of its API, as long as it is within a limit."""

Progress = Callable[[int, int], None]


class ForkedLogError(CommandError):
    """The hub signed another history than the one that is kept."""


class ShorterLogError(CommandError):
    """The hub shows less than was kept before."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of one fetch.

    Args:
        report: of the whole copy.
        since: up to where it was there before.
        files: how many were fetched.
        policy: by which it was verified.
    """

    report: Report
    since: int
    files: int
    policy: Policy


class LogSource:
    """The hub's log over its API, for several threads at once."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    def key(self) -> SignedLogKey:
        """Ask for the hub's word on its log's key."""
        return SignedLogKey.parse(self._fetch("/v1/log/key", MAX_SIZE))

    def years(self) -> dict[int, int]:
        """Ask which years there are, and up to where each is published."""
        value = parse_json(self._fetch("/v1/log", _MAX_STATE), _SUBJECT)
        listed: Any = value.get("years") if isinstance(value, dict) else None
        if not isinstance(listed, list):
            raise MalformedMessageError(f"{_SUBJECT}: no list of years")
        try:
            return {int(item["year"]): int(item["size"]) for item in listed}
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedMessageError(f"{_SUBJECT}: a year has no number or size") from error

    def checkpoint(self, year: int) -> bytes:
        """Fetch the checkpoint that is published."""
        return self._fetch(f"/v1/log/{year}/{CHECKPOINT}", MAX_NOTE_SIZE)

    def file(self, year: int, path: str) -> bytes:
        """Fetch a tile or a bundle."""
        return self._fetch(f"/v1/log/{year}/{path}", MAX_BUNDLE_SIZE)


class LogCopy:
    """The copy of one year's log in a directory, and the fetch that brings it up to date.

    Args:
        now: Unix seconds, for alarms.
        minimum: entries below may be missing at the hub: retention is over.
    """

    def __init__(
        self,
        home: Home,
        pin: LogPin,
        source: LogSource,
        directory: Path,
        *,
        now: int,
        minimum: int = 0,
    ) -> None:
        self._home = home
        self._pin = pin
        self._source = source
        self._directory = directory
        self._staging = directory.with_name(f".{directory.name}.fetching")
        self._now = now
        self._minimum = minimum

    def fetch(self, year: int, *, on_fetch: Progress, on_verify: Progress) -> Fetched:
        """Bring the copy up to date; 0 stands for the year of the copy, or else the newest.

        Raises:
            ForkedLogError, ShorterLogError: the hub's log does not extend the copy; an alarm
                is raised.
            CommandError: what the hub serves does not hold.
            ConfigError: the directory holds something else.
            InvalidProofError: the checkpoint is not signed as it must be.
            LogKeyChangedError: the hub names another key than before; an alarm is raised.
            HubRefusedError: the hub has no log of that year.
        """
        former = self._former()
        pinned = self._pin.pin(self._source.key(), self._now)
        year = year or self._year(former)
        data = self._source.checkpoint(year)
        note = Note.decode(data)
        origin = f"{pinned.log}/{year}"
        policy = self._pin.policy_of(origin, pinned, self._now)
        checkpoint = policy.verify(note).checkpoint
        if checkpoint.origin != origin:
            raise InvalidProofError(f"checkpoint: of {checkpoint.origin}, asked for {origin}")
        since = 0
        if former is not None:
            since = self._require_extends(former, checkpoint, pinned.policy_of(origin), data)
        files = self._download(year, checkpoint.size, since, on_fetch)
        report = self._verify(data, policy, on_verify)
        self._install()
        return Fetched(report, since, files, policy)

    def _former(self) -> Note | None:
        path = self._directory / CHECKPOINT
        if path.exists():
            return Note.decode(path.read_bytes())
        if self._directory.exists() and any(self._directory.iterdir()):
            raise ConfigError(
                f"{self._directory.name}: is no copy of a log and not empty; choose another"
            )
        return None

    def _year(self, former: Note | None) -> int:
        if former is not None:
            year = split_year(Checkpoint.parse(former.text).origin)[1]
            if year:
                return int(year)
        published = [year for year, size in self._source.years().items() if size]
        if not published:
            raise CommandError("the hub has published nothing of its log yet; try again soon")
        return max(published)

    def _require_extends(
        self, former: Note, checkpoint: Checkpoint, alone: Policy | None, data: bytes
    ) -> int:
        """Return the size of the copy, which the hub's log must extend."""
        held = Checkpoint.parse(former.text)
        name = self._directory.name
        if held.origin != checkpoint.origin or alone is None:
            raise ConfigError(
                f"{name}: is a copy of {held.origin}, not of {checkpoint.origin}; choose another"
            )
        try:
            alone.verify(former)
        except InvalidProofError as error:
            # Not signed by the log: it proves nothing, least of all a fork.
            raise ConfigError(f"{name}: its {error}; move it away and fetch anew") from error
        year = int(split_year(held.origin)[1])
        if checkpoint.size < held.size:
            text = f"{checkpoint.size} entries of {held.origin}, {held.size} were signed before"
            self._alarm(AlarmKind.SHORTER_LOG, held.origin, f"the hub shows {text}", data)
            raise ShorterLogError(f"the hub shows {text}; {self._cure(data)}")
        if self._root(year, checkpoint.size, checkpoint.size) != checkpoint.root:
            raise CommandError("the hub's tiles do not fit the checkpoint that it signed")
        if self._root(year, checkpoint.size, held.size) != held.root:
            text = f"another history of the first {held.size} entries of {held.origin}"
            self._alarm(AlarmKind.FORKED_LOG, held.origin, f"the hub signed {text}", data)
            raise ForkedLogError(f"the hub signed {text}; {self._cure(data)}")
        return held.size

    def _root(self, year: int, size: int, of: int) -> bytes:
        """Return the root of the first `of` entries, by the hub's tiles of a log of `size`."""

        def tile(place: Tile) -> bytes:
            return self._source.file(year, place.path)

        return root_at(of, TileNodes(size, tile))

    def _alarm(self, kind: AlarmKind, origin: str, text: str, data: bytes) -> None:
        write_atomically(self._evidence(data), data)
        raise_once(self._home, Alarm(kind, self._now, origin, text))

    def _evidence(self, data: bytes) -> Path:
        return self._home.root / EVIDENCE / f"{sha256(data).hexdigest()[:32]}.{CHECKPOINT}"

    def _cure(self, data: bytes) -> str:
        return (
            f"the copy stays as it was: keep it, and {EVIDENCE}/{self._evidence(data).name}, and "
            "ask the log's witnesses for theirs"
        )

    def _download(self, year: int, size: int, since: int, progress: Progress) -> int:
        """Fetch what the copy lacks into the staging directory; return how many files."""
        places: list[Tile | Bundle] = [*tiles_of(size, since), *bundles_of(size, since)]
        wanted = [place for place in places if not (self._staging / place.path).exists()]

        def fetch(place: Tile | Bundle) -> None:
            self._fetch_one(year, place)

        with ThreadPoolExecutor(_THREADS, thread_name_prefix="fetch") as pool:
            for done, _ in enumerate(pool.map(fetch, wanted), start=1):
                progress(done, len(wanted))
        return len(wanted)

    def _fetch_one(self, year: int, place: Tile | Bundle) -> None:
        try:
            data = self._source.file(year, place.path)
        except HubRefusedError as error:
            is_pruned = isinstance(place, Bundle) and (place.index + 1) * FULL <= self._minimum
            if error.code == _NOT_FOUND and is_pruned:
                return
            raise
        if isinstance(place, Tile) and len(data) != place.width * HASH_SIZE:
            raise CommandError(f"{place.path}: the hub sent {len(data)} bytes")
        _store(self._staging / place.path, data)

    def _verify(self, data: bytes, policy: Policy, progress: Progress) -> Report:
        _store(self._staging / CHECKPOINT, data)
        staged, kept = directory_reader(self._staging), directory_reader(self._directory)

        def read(name: str, limit: int) -> bytes:
            try:
                return staged(name, limit)
            except FileNotFoundError:
                return kept(name, limit)

        report = verify_files(read, policy, minimum=self._minimum, progress=progress)
        if not report.is_whole:
            # What is wrong must be fetched again, not gone on with.
            shutil.rmtree(self._staging)
            raise CommandError(
                f"what the hub serves does not hold with the copy: {report.fault}; fetch it into "
                "another directory to tell whether the hub or the copy is damaged"
            )
        return report

    def _install(self) -> None:
        """Move the new files into the copy, the checkpoint last."""
        files = [path for path in self._staging.rglob("*") if path.is_file()]
        self._directory.mkdir(parents=True, exist_ok=True)
        for path in files:
            name = path.relative_to(self._staging)
            if name.name != CHECKPOINT and not path.name.startswith("."):
                target = self._directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
                # A partial tile is not needed once the full one is there.
                shutil.rmtree(target.with_name(f"{target.name}.p"), ignore_errors=True)
        os.sync()
        (self._staging / CHECKPOINT).replace(self._directory / CHECKPOINT)
        shutil.rmtree(self._staging)


def _store(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    draft.write_bytes(data)
    draft.replace(path)
