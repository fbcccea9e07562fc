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
_NAME = "attempts.json"
_MOST = 1_000_000


def wait_after(failures: int) -> int:
    """Return for how long nothing is accepted after so many failures in a row, in seconds."""
    if failures < FREE:
        return 0
    return int(min(FIRST_WAIT_S << min(failures - FREE, 16), LONGEST_WAIT_S))


@dataclass(frozen=True, slots=True)
class Counter:
    """The failures of one account since it was last opened, and until when it is shut."""

    failures: int
    until: int


class Attempts:
    """The counters of one organisation, in `directory`; any number of processes."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _NAME
        self._lock = directory / "attempts.lock"

    def begin(self, name: str, *, exists: bool, now: int) -> bool:
        """Count an attempt as failed; returns whether the password is to be looked at at all."""
        with exclusive(self._lock):
            counters, others = self._load()
            before = counters.get(name, Counter(0, 0))
            is_open = exists and now >= before.until
            if is_open:
                failures = min(before.failures + 1, _MOST)
                counters[name] = Counter(failures, now + wait_after(failures))
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

    def shut_until(self, name: str) -> int:
        """Return until when an account is shut, for its colleagues; 0 if it never was."""
        counters, _ = self._load()
        return counters.get(name, Counter(0, 0)).until

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
            return _parse(data)
        except MalformedMessageError as error:
            raise ConfigError(f"{error}; restore staff/{_NAME} from a backup") from error


def _parse(data: bytes) -> tuple[dict[str, Counter], int]:
    fields = Fields.of(parse_json(data, _NAME), {"format", "counters", "others"}, _NAME)
    if fields.values["format"] != FORMAT:
        raise defect(fields.at("format"), f"must be {FORMAT}")
    items: dict[str, Any] = fields.mapping("counters")
    found = {}
    for index, (name, item) in enumerate(items.items()):
        inner = Fields.of(item, {"failures", "until"}, f"{fields.at('counters')}[{index}]")
        found[name] = Counter(inner.whole("failures", most=_MOST), inner.whole("until"))
    return found, fields.whole("others", most=_MOST)
