"""The book of a key holder: who asked for how many evaluations, and why, before any answer.

One entry is charge and log at once, in one durable record: there is no answer without an
entry and no charge without one. An entry holds digests, a count and names of organisations;
no element, and nothing that could be traced to a person without the asker's own files.

A request is known by its asker and its request id, for ever: sent again with the same
content it is admitted again without charge, with other content it is refused. Several
processes may use one book; each decision is made under the journal's lock, on all that any
of them has written. What a killed process admitted stays admitted: its asker sends the
request again and is answered without a second charge.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from compliance.errors import ComplianceError, LogCorruptError, QuotaExhaustedError
from compliance.evaluations.known import KnownRequests
from compliance.journal import Journal
from compliance.log.groupcommit import GroupCommit
from compliance.records import Records
from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError, ProtocolError
from protocols.lookup.request import CASE_SIZE, Purpose, SignedRequest, read_purpose
from protocols.lookup.signing import DIGEST_SIZE
from protocols.oprf.errors import ReplayedMessageError
from protocols.oprf.messages import REQUEST_ID_SIZE

BOOK = "book.journal"  # its name in a holder's directory
VERSION = 1


@dataclass(frozen=True, slots=True)
class BookEntry:
    """One request that was admitted.

    Args:
        digest: `SignedRequest.digest`.
        batch_digest: SHA-256 of the blinded elements: whoever holds the key of an openable
            request can show with it what was asked.
        count: elements charged.
        at: Unix seconds, by the holder's clock.
    """

    epoch: int
    asker: str
    purpose: Purpose
    case: bytes
    request_id: bytes
    digest: bytes
    batch_digest: bytes
    count: int
    at: int

    def encode(self) -> bytes:
        """Write the entry as it stands in the journal; the meaning never changes."""
        head = Writer().u8(VERSION).u64(self.epoch).text(self.asker).text(self.purpose).encode()
        tail = Writer().u32(self.count).u64(self.at).encode()
        return head + self.case + self.request_id + self.digest + self.batch_digest + tail

    @classmethod
    def decode(cls, data: bytes) -> BookEntry:
        """Read an entry of our own journal.

        Raises:
            MalformedMessageError: on anything that `encode` does not write.
        """
        reader = Reader(data, "book entry")
        if (version := reader.u8()) != VERSION:
            raise MalformedMessageError(f"book entry: version {version}, expected {VERSION}")
        epoch, asker, purpose = reader.u64(), reader.text(), read_purpose(reader)
        case, request_id = reader.take(CASE_SIZE), reader.take(REQUEST_ID_SIZE)
        digest, batch_digest = reader.take(DIGEST_SIZE), reader.take(DIGEST_SIZE)
        count, at = reader.u32(), reader.u64()
        reader.finish()
        return cls(epoch, asker, purpose, case, request_id, digest, batch_digest, count, at)


@dataclass(frozen=True, slots=True)
class Admission:
    """A request may be answered.

    Args:
        repeated: it was admitted before, and nothing was charged this time.
        used: elements of its asker in its epoch, itself included.
    """

    repeated: bool
    used: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that is to be charged, within a quota."""

    entry: BookEntry
    quota: int


class EvaluationBook:
    """One holder's book, in one journal.

    Args:
        place: the file of the journal, or what opens it, wherever it is kept.
    """

    def __init__(self, place: Path | Callable[[], Records]) -> None:
        self._open: Callable[[], Records] = (
            partial(Journal, place) if isinstance(place, Path) else place
        )
        # Entries stay on disk; what is kept of each is what a decision needs.
        self._known: defaultdict[str, KnownRequests] = defaultdict(KnownRequests)
        self._used: Counter[tuple[int, str]] = Counter()
        self._journal = self._open()
        self._group: GroupCommit[_Asked, Admission | ComplianceError | ProtocolError] = GroupCommit(
            self._admit_all
        )
        with self._current():
            pass

    def close(self) -> None:
        """Give the file back."""
        self._journal.close()

    def admit(self, request: SignedRequest, *, quota: int, now: int) -> Admission:
        """Charge and log a request, once; durable on return.

        The caller has verified the request and its grant, and answers only afterwards. Requests
        of several threads share a commit, so that none may come from within a transaction.

        Args:
            quota: elements that the asker may have in the request's epoch.

        Raises:
            ReplayedMessageError: the request id was used for another request.
            QuotaExhaustedError: the quota does not cover the whole batch; nothing was written.
        """
        found = self._group.submit(_Asked(_entry_of(request, now), quota))
        if isinstance(found, Admission):
            return found
        raise found

    def recover(self, entry: BookEntry) -> bool:
        """Charge what a book that was put back from a backup has forgotten; durable on return.

        The quota is not asked: the answer was given. False if the entry is there already.
        """
        with self._current():
            if entry.request_id in self._known[entry.asker]:
                return False
            self._journal.append(entry.encode())
            self._apply(entry)
            return True

    def holds(self, request: SignedRequest) -> bool:
        """Report whether this very request was admitted before.

        Raises:
            ReplayedMessageError: the request id was used for another request.
        """
        with self._current():
            return self._is_known(_entry_of(request, 0))

    def used(self, epoch: int, asker: str) -> int:
        """Return how many elements an asker has had in an epoch."""
        with self._current():
            return self._used[epoch, asker]

    def used_at_least(self, epoch: int, asker: str) -> int:
        """Return how many elements are known here without looking: other processes may know more.

        For a caller that decides again later, under the lock: it costs nothing to be asked.
        """
        return self._used[epoch, asker]

    def entries(self, epoch: int) -> list[BookEntry]:
        """Return all entries of an epoch, in the order in which they were admitted.

        Reads the whole file and holds it meanwhile: for auditors, not for requests.
        """
        journal = self._open()
        try:
            with journal.exclusive() as records:
                found = [_read(record) for record in records]
        finally:
            journal.close()
        return [entry for entry in found if entry.epoch == epoch]

    def _admit_all(
        self, asked: Sequence[_Asked]
    ) -> list[Admission | ComplianceError | ProtocolError]:
        """Decide on requests in their order, each with those before it, and charge all at once."""
        with self._current():
            new: dict[tuple[str, bytes], BookEntry] = {}
            used = Counter[tuple[int, str]]()
            found = [self._decide(one, new, used) for one in asked]
            if new:
                self._journal.append_all([entry.encode() for entry in new.values()])
            for entry in new.values():
                self._apply(entry)
        return found

    def _decide(
        self,
        asked: _Asked,
        new: dict[tuple[str, bytes], BookEntry],
        more: Counter[tuple[int, str]],
    ) -> Admission | ComplianceError | ProtocolError:
        """Decide on one request, and add it to what is to be charged.

        Args:
            new: what is to be charged before it, by asker and id; `more`: elements of these.
        """
        entry, key = asked.entry, (asked.entry.epoch, asked.entry.asker)
        used, before = self._used[key] + more[key], new.get((entry.asker, entry.request_id))
        try:
            if self._is_known(entry) or (
                before and _is_same(entry, same=before.digest == entry.digest)
            ):
                return Admission(repeated=True, used=used)
        except ReplayedMessageError as error:
            return error
        if used + entry.count > asked.quota:
            return QuotaExhaustedError(
                f"quota of {entry.asker} in epoch {entry.epoch}: {used} of {asked.quota} used, "
                f"{entry.count} more asked; nothing was charged",
                used=used,
                quota=asked.quota,
            )
        new[entry.asker, entry.request_id] = entry
        more[key] += entry.count
        return Admission(repeated=False, used=used + entry.count)

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Hold the journal alone, with everything applied that any process has written."""
        with self._journal.exclusive() as records:
            self._apply_all(records)
            yield

    def _apply_all(self, records: Iterable[bytes]) -> None:
        try:
            for record in records:
                self._apply(_read(record))
        except LogCorruptError:
            # What was read is lost to this object: it must decide nothing from here on.
            self._journal.close()
            raise

    def _is_known(self, entry: BookEntry) -> bool:
        known = self._known.get(entry.asker)
        return known is not None and _is_same(
            entry, same=known.same(entry.request_id, entry.digest)
        )

    def _apply(self, entry: BookEntry) -> None:
        known = self._known[entry.asker]
        if entry.request_id in known:
            raise LogCorruptError(f"book: a request of {entry.asker} was entered twice")
        known.add(entry.request_id, entry.digest)
        self._used[entry.epoch, entry.asker] += entry.count


def _entry_of(request: SignedRequest, now: int) -> BookEntry:
    return BookEntry(
        epoch=request.evaluation.epoch,
        asker=request.asker,
        purpose=request.purpose,
        case=request.case,
        request_id=request.request_id,
        digest=request.digest,
        batch_digest=sha256(request.evaluation.blinded).digest(),
        count=request.count,
        at=now,
    )


def _is_same(entry: BookEntry, *, same: bool | None) -> bool:
    """Report whether a request of this id was admitted; None if there is none of this id.

    Raises:
        ReplayedMessageError: it was another one.
    """
    if same is False:
        raise ReplayedMessageError(
            f"request of {entry.asker}: its id was used for another request; draw a new one"
        )
    return same is not None


def _read(record: bytes) -> BookEntry:
    try:
        return BookEntry.decode(record)
    except MalformedMessageError as error:
        raise LogCorruptError(f"book: an entry cannot be read: {error}") from error
