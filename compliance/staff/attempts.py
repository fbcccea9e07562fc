"""Failed logins: counted on disk before they are known to fail, with a growing wait.

An attempt is counted as a failure, durably, before the password is looked at, and taken back
when it was right. So a process that is killed in between, and a hundred attempts at once, are
counted like any others, and a restart forgets nothing. Only names that exist have a counter;
for others the same file is written as well, because the time it takes would tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compliance.agreement.fields import Fields, defect
from compliance.configuration import ConfigError
from compliance.files import write_atomically
from compliance.staff.locking import exclusive
from protocols.codec import parse_json
from protocols.errors import MalformedMessageError
from protocols.jcs import encode_jcs

FREE = 5  # failures in a row before there is any wait
FIRST_WAIT_S = 60
LONGEST_WAIT_S = 3_600
FORMAT = "lianfang/staff/attempts/v1"
ACCOUNTS, SOURCES = "attempts.json", "sources.json"
# Behind one network address a whole office may sit: it gets more, and forgets sooner.
FREE_OF_SOURCE = 50
FORGET_SOURCE_S = 3_600
MOST_SOURCES = 2_000
_MOST = 1_000_000


def wait_after(failures: int, free: int = FREE) -> int:
    """Return for how long nothing is accepted after so many failures in a row, in seconds."""
    if failures < free:
        return 0
    return int(min(FIRST_WAIT_S << min(failures - free, 16), LONGEST_WAIT_S))


@dataclass(frozen=True, slots=True)
class Counter:
    """The failures of one account since it was last opened, and until when it is shut."""

    failures: int
    until: int


class Attempts:
    """The counters of one organisation, in `directory`; any number of processes.

    Args:
        name: of the file; of accounts, or of network addresses.
        free: failures in a row before there is any wait.
        forget_s: after so long without a failure a counter is as good as none; None keeps it.
        most: counters that are kept; the oldest go first.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = ACCOUNTS,
        free: int = FREE,
        forget_s: int | None = None,
        most: int = _MOST,
    ) -> None:
        self._path = directory / name
        self._lock = directory / f"{name.removesuffix('.json')}.lock"
        self._free, self._forget_s, self._most = free, forget_s, most

    @classmethod
    def of_sources(cls, directory: Path) -> Attempts:
        """Return the counters of network addresses, whichever accounts were tried from there."""
        return cls(
            directory, name=SOURCES, free=FREE_OF_SOURCE,
            forget_s=FORGET_SOURCE_S, most=MOST_SOURCES,
        )  # fmt: skip

    def begin(self, name: str, *, exists: bool, now: int) -> bool:
        """Count an attempt as failed; returns whether the password is to be looked at at all."""
        with exclusive(self._lock):
            counters, others = self._load()
            self._forget(counters, now)
            before = counters.get(name, Counter(0, 0))
            is_open = exists and now >= before.until
            if is_open:
                failures = min(before.failures + 1, _MOST)
                counters[name] = Counter(failures, now + wait_after(failures, self._free))
            else:
                others = min(others + 1, _MOST)
            self._store(counters, others)
        return is_open

    def clear(self, name: str) -> None:
        """Take the failures of an account back: its password was right, or is a new one."""
        with exclusive(self._lock):
            counters, others = self._load()
            if counters.pop(name, None) is not None:
                self._store(counters, others)

    def take_back(self, name: str, *, now: int) -> None:
        """Take the last failure of a counter back: it was none; those before it stay."""
        with exclusive(self._lock):
            counters, others = self._load()
            before = counters.get(name, Counter(0, 0))
            if before.failures > 1:
                counters[name] = Counter(before.failures - 1, now)
            else:
                counters.pop(name, None)
            self._store(counters, others)

    def shut_until(self, name: str) -> int:
        """Return until when an account is shut, for its colleagues; 0 if it never was."""
        counters, _ = self._load()
        return counters.get(name, Counter(0, 0)).until

    def _forget(self, counters: dict[str, Counter], now: int) -> None:
        if self._forget_s is not None:
            old = [n for n, item in counters.items() if now >= item.until + self._forget_s]
            for name in old:
                del counters[name]
        while len(counters) >= self._most:
            del counters[min(counters, key=lambda name: counters[name].until)]

    def _store(self, counters: dict[str, Counter], others: int) -> None:
        items = {
            name: {"failures": item.failures, "until": item.until}
            for name, item in counters.items()
        }
        write_atomically(
            self._path, encode_jcs({"format": FORMAT, "counters": items, "others": others})
        )

    def _load(self) -> tuple[dict[str, Counter], int]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return {}, 0
        try:
            return _parse(data, self._path.name)
        except MalformedMessageError as error:
            raise ConfigError(f"{error}; restore staff/{self._path.name} from a backup") from error


def _parse(data: bytes, name: str) -> tuple[dict[str, Counter], int]:
    fields = Fields.of(parse_json(data, name), {"format", "counters", "others"}, name)
    if fields.values["format"] != FORMAT:
        raise defect(fields.at("format"), f"must be {FORMAT}")
    items: dict[str, Any] = fields.mapping("counters")
    found = {}
    for index, (whose, item) in enumerate(items.items()):
        inner = Fields.of(item, {"failures", "until"}, f"{fields.at('counters')}[{index}]")
        found[whose] = Counter(inner.whole("failures", most=_MOST), inner.whole("until"))
    return found, fields.whole("others", most=_MOST)
