"""What a restored holder's book has forgotten is charged again, by the hub's log.

The hub enters every evaluation, with asker, epoch, purpose and count, before its answer
leaves. Those after the backup that the book does not have are charged as they were. A holder
that did not take part in one is charged for it all the same: more, never less.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256

from compliance.evaluations.book import BookEntry, EvaluationBook
from protocols.lookup.request import NO_CASE, Purpose
from protocols.lookup.signing import DIGEST_SIZE
from protocols.oprf.messages import REQUEST_ID_SIZE
from protocols.tlog.entry import Entry, Outcome

# By how much the clocks of hub and holder may lie apart.
TOLERANCE_S = 3_600
_EVALUATE = "evaluate"
_MAX_COUNT = (1 << 32) - 1
_LABEL = b"lianfang/restored/"

Key = tuple[int, str, str, int]


def recover_quotas(
    book: EvaluationBook, origin: str, entries: Iterable[Entry], *, since: int, now: int
) -> int:
    """Charge the evaluations of a log that the book does not have; return how many elements.

    Args:
        origin: of the log; what was recovered from it is not recovered twice.
        entries: of the hub's log, all of it.
        since: when the backup was made; what lies before is in the book.
        now: charges bear the time of their entry, and at most this.
    """
    asked = [entry for entry in entries if _counts(entry) and entry.time >= since - TOLERANCE_S]
    epochs = {key[0] for entry in asked if (key := _key(entry)) is not None}
    had: Counter[Key] = Counter()
    recovered: set[bytes] = set()
    for epoch in epochs:
        for kept in book.entries(epoch):
            if _is_recovered(kept):
                recovered.add(kept.request_id)
            elif kept.at >= since - 2 * TOLERANCE_S:
                had[kept.epoch, kept.asker, kept.purpose.value, kept.count] += 1
    total = 0
    for entry in asked:
        key = _key(entry)
        if key is None:
            continue
        if had[key] > 0:
            had[key] -= 1
            continue
        made = _entry(origin, entry, key, now)
        if made.request_id not in recovered and book.recover(made):
            total += entry.count
    return total


def exhaust_quotas(
    book: EvaluationBook, epoch: int, quotas: Sequence[tuple[str, int]], *, now: int
) -> int:
    """Charge what is left of an epoch's quotas; return how many elements.

    For a hub of whose log nobody has a copy: what was asked after the backup is not known, so
    all of it may have been. A new epoch brings new quotas.
    """
    total = 0
    for asker, quota in quotas:
        left = quota - book.used(epoch, asker)
        while left > 0:
            count = min(left, _MAX_COUNT)
            seed = f"{epoch}/{asker}/{quota}/{left}".encode()
            book.recover(_made(seed, (epoch, asker, Purpose.SCREENING.value, count), now))
            total, left = total + count, left - count
    return total


def _entry(origin: str, entry: Entry, key: Key, now: int) -> BookEntry:
    return _made(f"{origin}/{entry.sequence}".encode(), key, min(entry.time, now))


def _made(seed: bytes, key: Key, at: int) -> BookEntry:
    epoch, asker, purpose, count = key
    digest = sha256(_LABEL + seed).digest()
    return BookEntry(
        epoch=epoch,
        asker=asker,
        purpose=Purpose(purpose),
        case=NO_CASE,
        request_id=digest[:REQUEST_ID_SIZE],
        digest=digest,
        batch_digest=bytes(DIGEST_SIZE),  # that of no batch: an auditor sees what it is
        count=count,
        at=at,
    )


def _is_recovered(entry: BookEntry) -> bool:
    return entry.batch_digest == bytes(DIGEST_SIZE)


def _counts(entry: Entry) -> bool:
    # What failed was charged as well, at the holders that had answered.
    return entry.act == _EVALUATE and entry.outcome in (Outcome.DONE, Outcome.FAILED)


def _key(entry: Entry) -> Key | None:
    epoch, _, purpose = entry.subject_matter.partition("/")
    number, word = epoch.removeprefix("epoch-"), purpose.replace("-", "_")
    if not number.isdigit() or word not in set(Purpose) or entry.count <= 0:
        return None
    return int(number), entry.organisation, word, entry.count
