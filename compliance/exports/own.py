"""The owner's own log with its private parts, all years of it, as a search meets them."""

from __future__ import annotations

from collections.abc import Iterator

from compliance.errors import LogCorruptError
from compliance.exports.finding import Seen
from compliance.log.errors import PartErasedError, UnknownPartError
from compliance.log.private import PrivateParts
from compliance.log.storage import Place
from compliance.log.verify import Progress
from compliance.office.office import Office
from protocols.errors import MalformedMessageError
from protocols.tlog.entry import Entry
from protocols.tlog.private import PrivatePart
from protocols.tlog.tiles import FULL


def own_entries(office: Office, progress: Progress | None = None) -> Iterator[Seen]:
    """Yield every entry of every year that is still given out, in order.

    Args:
        progress: is told how many entries were given out, and of how many.

    Raises:
        LogCorruptError: an entry is not what was written.
    """
    storage = office.storage
    known = storage.origins()
    # The log of a year that has just begun is made with its first entry.
    logs = [origin for origin in office.yearly.origins() if origin in known]
    spans = [(name, storage.minimum(name), storage.edge(name).size) for name in logs]
    whole, done = sum(size - minimum for _, minimum, size in spans), 0
    for origin, minimum, size in spans:
        for start in range(minimum, size, FULL):
            if progress is not None:
                progress(done, whole)
            done += FULL
            for index, data in enumerate(
                storage.entries(origin, start, min(start + FULL, size)), start=start
            ):
                yield _seen(office.parts, Place(origin, index), data)


def own_entry(office: Office, place: Place) -> Entry:
    """Return one entry.

    Raises:
        EntryPrunedError: it is past its retention. LogCorruptError: it cannot be read.
    """
    (data,) = office.storage.entries(place.origin, place.index, place.index + 1)
    return _decode(place, data)


def _seen(parts: PrivateParts, place: Place, data: bytes) -> Seen:
    entry = _decode(place, data)

    def read() -> PrivatePart | None:
        try:
            return parts.read(place, entry.commitment)
        except (PartErasedError, UnknownPartError):
            return None

    return Seen(entry, place.origin, read)


def _decode(place: Place, data: bytes) -> Entry:
    try:
        return Entry.decode(data)
    except MalformedMessageError as error:
        raise LogCorruptError(f"{place.origin}, entry {place.index}: {error}") from error
