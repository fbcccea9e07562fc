"""A node's stores as `compliance.rights` asks them: queries, cache, window, lights, scores, feed.

Which of them a node has follows from its directory: one that was never used is left out.
The customer table itself, files that a screening wrote elsewhere, and the core system's
cases are not here: they are the organisation's own, with rules of their own.

`desk/checks.journal` is told on access and is not erased: it holds no identifier, only the
case's reference, and is chained by hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clients.desk.before import LastLights
from clients.desk.journal import CheckJournal
from clients.desk.watch import Watch
from clients.feed.home import FeedHome
from clients.lookup.cache import OutputCache
from clients.lookup.queries import QueryStore, StoredQuery
from clients.lookup.secrets import CACHE_KEY, Random
from clients.node.home import Home
from clients.rights.reports import ReportRecords
from clients.rights.scores import ScoreRecords
from compliance.agreement.vocabulary import Title
from compliance.clock import Clock
from compliance.rights.errors import StoreWaitsError
from compliance.rights.stores import Finding, Subject, SubjectRecords, SubjectStore

_CASE = Title("case", "案件")
_PURPOSE = Title("purpose", "目的")
_REQUEST = Title("number of the request", "請求編號")
_EPOCH = Title("key epoch", "金鑰期")
_COLOUR = Title("light", "燈號")
_CHANNEL = Title("channel", "管道")
_HELD = Title("held", "持有")
_YES = "1"
_REWRITTEN = Title(
    "taken out; the file was written anew without it and the old one deleted",
    "移除後重寫檔案並刪除舊檔",
)


@dataclass(frozen=True, slots=True)
class QueryRecords:
    """Every question to the key holders, sealed: `clients.lookup.queries`."""

    home: Home
    random: Random
    name: ClassVar[str] = "desk/queries"
    what: ClassVar[Title] = Title(
        "questions whether you are in the fraud reports", "查詢您是否列於通報之紀錄"
    )
    method: ClassVar[Title] = _REWRITTEN

    def find(self, subject: Subject) -> list[Finding]:
        """Return one finding for each question."""
        return [_query(item) for item in self._store().about(subject.canonical)]

    def erase(self, subject: Subject) -> int:
        """Take the person out of every question."""
        erased, busy = self._store().erase(subject.canonical)
        if busy:
            raise StoreWaitsError(f"{self.name}: {busy} are being asked; run it again")
        return erased

    def _store(self) -> QueryStore:
        return QueryStore(self.home, self.random)


@dataclass(frozen=True, slots=True)
class CacheRecords:
    """What was evaluated in the epochs that are kept: `clients.lookup.cache`."""

    home: Home
    random: Random
    name: ClassVar[str] = "desk/cache"
    what: ClassVar[Title] = Title(
        "keys by which reports about you can be found", "可據以尋得關於您之通報之金鑰"
    )
    method: ClassVar[Title] = Title(
        "overwritten with random bytes; the file was written anew and the old one deleted",
        "以隨機位元覆寫後重寫檔案並刪除舊檔",
    )

    def find(self, subject: Subject) -> list[Finding]:
        """Return one finding for each epoch and identifier."""
        return [
            Finding(None, {_EPOCH: str(cache.epoch)})
            for cache in self._caches()
            for _ in range(cache.count(subject.canonical))
        ]

    def erase(self, subject: Subject) -> int:
        """Overwrite the person's rows."""
        return sum(cache.erase(subject.canonical) for cache in self._caches())

    def _caches(self) -> list[OutputCache]:
        epochs = OutputCache.epochs(self.home)
        return [OutputCache(self.home, epoch, self.random) for epoch in epochs]


@dataclass(frozen=True, slots=True)
class WindowRecords:
    """The identifiers that were asked lately: `clients.desk.watch`."""

    home: Home
    random: Random
    name: ClassVar[str] = "desk/window"
    what: ClassVar[Title] = Title("identifiers that were asked lately", "近期查詢之識別資料")
    method: ClassVar[Title] = _REWRITTEN

    def find(self, subject: Subject) -> list[Finding]:
        """Return one finding for each identifier."""
        watch = Watch(self.home, self.random)
        try:
            return [Finding(None, {_HELD: _YES})] * watch.count(subject.canonical)
        finally:
            watch.close()

    def erase(self, subject: Subject) -> int:
        """Take the person out of the window."""
        watch = Watch(self.home, self.random)
        try:
            return watch.forget(subject.canonical)
        finally:
            watch.close()


@dataclass(frozen=True, slots=True)
class LightRecords:
    """The lights of the last screening: `clients.desk.before`."""

    home: Home
    random: Random
    name: ClassVar[str] = "desk/screening"
    what: ClassVar[Title] = Title("your light in the last screening", "最近一次篩檢之燈號")
    method: ClassVar[Title] = _REWRITTEN

    def find(self, subject: Subject) -> list[Finding]:
        """Return the last light of each identifier."""
        lights = LastLights(self.home, self.random)
        tokens = OutputCache(self.home, 0, self.random).tokens(subject.canonical)
        return [Finding(None, {_COLOUR: colour.value}) for colour in lights.find(tokens)]

    def erase(self, subject: Subject) -> int:
        """Forget the person's lights."""
        tokens = OutputCache(self.home, 0, self.random).tokens(subject.canonical)
        return LastLights(self.home, self.random).erase(tokens)


@dataclass(frozen=True, slots=True)
class CheckRecords:
    """What the desk showed, by the cases under which it asked; told, not erased."""

    home: Home
    random: Random
    name: ClassVar[str] = "desk/checks"
    what: ClassVar[Title] = Title("what the counter was shown", "櫃檯所見之結果")

    def find(self, subject: Subject) -> list[Finding]:
        """Return the checks under the cases of the person's questions."""
        asked = QueryStore(self.home, self.random).about(subject.canonical)
        cases = {query.reference for query in asked if query.reference}
        return [
            Finding(
                entry.at,
                {_CASE: entry.case, _CHANNEL: entry.channel, _COLOUR: entry.colour},
            )
            for entry in CheckJournal.entries(self.home.root)
            if entry.case in cases
        ]


def stores_of(
    home: Home, random: Random, *, clock: Clock, who: str = "rights"
) -> list[SubjectStore]:
    """Return the stores of a node from which a person is erased.

    Args:
        who: acts in the feed's register; a pseudonym, since the register keeps it.
    """
    found: list[SubjectStore] = []
    if (home.root / "keys" / CACHE_KEY).exists():
        found += [QueryRecords(home, random), CacheRecords(home, random)]
        if (home.root / "desk").exists():
            found += [WindowRecords(home, random), LightRecords(home, random)]
    if list((home.root / "runs").glob("*/refined.npy")):
        found.append(ScoreRecords(home))
    if _register(home).exists():
        found.append(ReportRecords(FeedHome(home), random, clock, who))
    return found


def told_stores(home: Home, random: Random, *, clock: Clock) -> list[SubjectRecords]:
    """Return the stores of which a person is told on access."""
    found: list[SubjectRecords] = [*stores_of(home, random, clock=clock)]
    if (home.root / "desk" / "checks.journal").exists():
        found.append(CheckRecords(home, random))
    return found


def _register(home: Home) -> Path:
    return home.root / "feed" / "register.sqlite"


def _query(query: StoredQuery) -> Finding:
    return Finding(
        query.asked_at,
        {
            _PURPOSE: query.purpose.value,
            _CASE: query.reference,
            _EPOCH: str(query.epoch),
            _REQUEST: query.request_id.hex(),
        },
    )
