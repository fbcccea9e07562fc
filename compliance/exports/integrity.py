"""The integrity statement: what a board, or an authority, is told of a log as a whole.

It is made from the files of an export, or of the own log, each checked first: a statement
about a log that does not hold says so and where, and nothing else of it is to be believed.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compliance.exports.check import check_export
from compliance.exports.source import Source, open_source
from compliance.log.export import export_log
from compliance.log.verify import Progress
from compliance.office.keys import open_keys
from compliance.office.office import Office
from compliance.office.opening import FOLDER
from protocols.errors import MalformedMessageError
from protocols.tlog.policy import NONE, Policy
from protocols.tlog.policy import Log as ListedLog
from protocols.tlog.tiles import FULL, Bundle, parse_path

FLOOR_MONTHS = 60  # the longest floor of the profiles: five years
_YEAR = re.compile(r".*/([1-9][0-9]{3})", re.ASCII)
_YEAR_MONTHS = 12


@dataclass(frozen=True, slots=True)
class Integrity:
    """What is known of one log.

    Args:
        fault: the first thing that does not hold; empty if everything does.
        root: of the signed checkpoint; cosigned: when each witness saw it, by name.
        minimum: entries below need not be there; pruned: how many of these are not.
        gaps: first and last index of what is missing above it; None for a selection.
        first, last: times of the first and last entry here; silence_s: the longest time
            between one entry and the next.
        kept_until: until when the log of this year must be kept; None where its origin names
            no year.
    """

    log: str
    fault: str
    size: int
    root: str
    entries: int
    pruned: int
    minimum: int
    gaps: tuple[tuple[int, int], ...] | None
    cosigned: Mapping[str, int]
    missing_witnesses: tuple[str, ...]
    first: int | None
    last: int | None
    silence_s: int
    kept_until: int | None

    @property
    def holds(self) -> bool:
        """Whether everything that was checked holds."""
        return not self.fault

    def fields(self, now: int) -> dict[str, Any]:
        """Return the JSON object."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        until = self.kept_until
        return found | {
            "holds": self.holds,
            "gaps": None if self.gaps is None else [list(gap) for gap in self.gaps],
            "cosigned": dict(self.cosigned),
            "missing_witnesses": list(self.missing_witnesses),
            "may_be_deleted": None if until is None else now >= until,
        }


def integrity(
    source: Source,
    policy: Policy,
    *,
    minimum: int = 0,
    months: int = FLOOR_MONTHS,
    progress: Progress | None = None,
) -> Integrity:
    """Check an exported log and state what it is.

    Args:
        months: for how long the log of a year is kept after the year's end.

    Raises:
        MalformedMessageError: there is no checkpoint that could be read.
    """
    checkpoint = source.checkpoint()
    checked = check_export(source, policy, minimum=minimum, progress=progress)
    entries, first, last, silence = _times(source, is_whole=checked.is_whole)
    cosigned = dict(checked.report.cosigned)
    return Integrity(
        log=checkpoint.origin,
        fault=checked.fault,
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        entries=entries,
        pruned=checked.report.pruned - checked.selected if checked.is_whole else 0,
        minimum=minimum,
        gaps=None if checked.is_selection else tuple(_gaps(source, checkpoint.size, minimum)),
        cosigned=cosigned,
        missing_witnesses=tuple(
            item.name for item in policy.witnesses if item.name not in cosigned
        ),
        first=first,
        last=last,
        silence_s=silence,
        kept_until=_kept_until(checkpoint.origin, months),
    )


def own_integrity(office: Office, root: Path, *, months: int = FLOOR_MONTHS) -> Iterator[Integrity]:
    """Publish the own log of every year, take it out and check it as a stranger would.

    Args:
        root: the organisation's directory.

    Raises:
        StorageError, LogCorruptError: the log cannot be read or published.
        ConfigError: its keys cannot be used.
    """
    office.yearly.checkpoint()
    keys = open_keys(root / FOLDER, begun=True)
    for origin in office.yearly.origins():
        policy = Policy((ListedLog(keys.signer(origin).key),), (), (), NONE)
        with tempfile.TemporaryDirectory() as folder:
            if export_log(office.storage, origin, Path(folder) / "log") is None:
                continue
            with open_source(Path(folder) / "log") as source:
                minimum = office.storage.minimum(origin)
                yield integrity(source, policy, minimum=minimum, months=months)


def _times(source: Source, *, is_whole: bool) -> tuple[int, int | None, int | None, int]:
    """Return number of entries, first and last time, and the longest time without one."""
    count, first, last, silence = 0, None, None, 0
    if not is_whole:
        return count, first, last, silence
    for entry in source.entries():
        count += 1
        first = entry.time if first is None else first
        silence = max(silence, entry.time - (entry.time if last is None else last))
        last = entry.time if last is None else max(last, entry.time)
    return count, first, last, silence


def _gaps(source: Source, size: int, minimum: int) -> Iterator[tuple[int, int]]:
    """Yield what is missing, in bundles that follow each other as one."""
    present = set()
    for name in source.names:
        try:
            place = parse_path(name)
        except MalformedMessageError:
            continue
        if isinstance(place, Bundle):
            present.add((place.index, place.width))
    start = None
    for index in range(minimum // FULL, -(-size // FULL)):
        width = min(FULL, size - index * FULL)
        if (index, width) in present:
            if start is not None:
                yield start, index * FULL - 1
            start = None
        elif start is None:
            start = index * FULL
    if start is not None:
        yield start, size - 1


def _kept_until(origin: str, months: int) -> int | None:
    match = _YEAR.fullmatch(origin)
    if match is None:
        return None
    years, rest = divmod(months, _YEAR_MONTHS)
    return int(datetime(int(match.group(1)) + 1 + years, 1 + rest, 1, tzinfo=UTC).timestamp())
