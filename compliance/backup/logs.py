"""Bringing a restored log up to what others have seen of it.

A log that was put back to yesterday must not go on from there: it has signed a later tree, and
signing another one of that size is a fork. Everything that was published of it lies with
others: the entries with every partner that fetched the log, the checkpoints with witnesses.

    1  the newest checkpoint that anybody can show goes first: none may be left out
    2  a copy that reaches so far is verified, and must begin with what the backup holds
    3  the entries that the backup lacks are appended, as they were
    4  the checkpoint goes into the second place: from then on the log refuses what is older

Private parts of these entries were with the hub alone and are lost. Entries that were never
published are lost as well; nobody has seen them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from compliance.configuration import ConfigError
from compliance.errors import LogCorruptError
from compliance.exports.source import Source
from compliance.log.log import verify_own
from compliance.log.second import CheckpointStore
from compliance.log.storage import Batch, Storage
from compliance.log.tree import Tip, grow, load_tip
from compliance.log.verify import MAX_BUNDLE_SIZE, Progress, verify_files
from protocols.errors import MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.entry import Entry
from protocols.tlog.merkle import root_at
from protocols.tlog.note import Note, Signer, VerifierKey
from protocols.tlog.policy import NONE, Policy
from protocols.tlog.policy import Log as ListedLog
from protocols.tlog.tiles import Tile, TileNodes

_AT_ONCE = 4_096


@dataclass(frozen=True, slots=True)
class Shown:
    """A checkpoint of the log that somebody has, as its bytes."""

    checkpoint: Checkpoint
    note: bytes


def shown(notes: Iterable[bytes], key: VerifierKey) -> list[Shown]:
    """Return those of some checkpoints that are of this log and signed by it, by rising size.

    Raises:
        ConfigError: one of them is none at all. LogCorruptError: its signature is wrong.
    """
    found = []
    for data in notes:
        try:
            origin = Checkpoint.parse(Note.decode(data).text).origin
        except MalformedMessageError as error:
            raise ConfigError("checkpoint: one that was given is none; give the file") from error
        if origin == key.name:
            found.append(Shown(verify_own(data, key), data))
    return sorted(found, key=lambda item: item.checkpoint.size)


def bring_up(
    storage: Storage,
    second: CheckpointStore,
    signer: Signer,
    *,
    seen: Sequence[Shown],
    copies: Sequence[Source],
    progress: Progress,
) -> int:
    """Append what a restored log lacks of what was published; return how many entries.

    Args:
        seen: checkpoints that others have shown, beside those of the copies.
        copies: of this very log.

    Raises:
        ConfigError: nobody's copy reaches as far as the newest checkpoint; says how far.
        LogCorruptError: a copy does not hold, or contradicts the log: a fork.
    """
    origin = signer.name
    storage.register(origin)
    tip = load_tip(storage, origin)
    places = [second.load(origin), storage.checkpoint(origin)]
    offers = {
        item.checkpoint.size: (item, copy)
        for copy in copies
        for item in shown([_note(copy)], signer.key)
    }
    known = [*seen, *shown([data for data in places if data is not None], signer.key)]
    known += [item for item, _ in offers.values()]
    newest = max((item.checkpoint.size for item in known), default=0)
    if newest <= tip.edge.size:
        return 0
    if newest not in offers:
        reach = max(offers, default=0)
        raise ConfigError(
            f"{origin}: a checkpoint of {newest} entries was shown, the backup has "
            f"{tip.edge.size} and the copies reach {reach}; give a copy that somebody fetched "
            "since, by --copy"
        )
    offer, copy = offers[newest]
    _verify(copy, signer.key, progress)
    _check_begins(copy, offer.checkpoint, tip)
    before = tip.edge.size
    added = (data for index, data in copy.data() if index >= before)
    after = _append(storage, origin, tip, added)
    if (after.edge.size, after.edge.root()) != (newest, offer.checkpoint.root):
        raise LogCorruptError(f"{origin}: the copy does not lead to its own checkpoint")
    _keep(storage, second, offer)
    return newest - before


def entries_since(storage: Storage, origin: str, start: int) -> Iterator[Entry]:
    """Yield the entries of a log from an index on."""
    size = storage.edge(origin).size
    for at in range(start, size, _AT_ONCE):
        for data in storage.entries(origin, at, min(size, at + _AT_ONCE)):
            yield Entry.decode(data)


def _verify(copy: Source, key: VerifierKey, progress: Progress) -> None:
    report = verify_files(
        copy.read_file, Policy((ListedLog(key),), (), (), NONE), progress=progress
    )
    if not report.is_whole or report.pruned:
        fault = report.fault or "entries are missing"
        raise LogCorruptError(f"{key.name}: the copy does not hold: {fault}")


def _check_begins(copy: Source, checkpoint: Checkpoint, tip: Tip) -> None:
    def tile(place: Tile) -> bytes:
        return copy.read(place.path, MAX_BUNDLE_SIZE)

    size = tip.edge.size
    if size and root_at(size, TileNodes(checkpoint.size, tile)) != tip.edge.root():
        raise LogCorruptError(
            f"{checkpoint.origin}: the copy has another history of the first {size} entries: fork"
        )


def _append(storage: Storage, origin: str, tip: Tip, entries: Iterator[bytes]) -> Tip:
    while chunk := list(islice(entries, _AT_ONCE)):
        with storage.exclusive(origin) as turn:
            after, tiles = grow(tip, chunk, storage, origin)
            first = tip.edge.size
            named = [(first + at, Entry.decode(data).document) for at, data in enumerate(chunk)]
            documents = tuple((at, digest) for at, digest in named if digest is not None)
            batch = Batch(tip.edge, after.edge, tuple(chunk), tuple(tiles), (), documents)
            turn.append(batch)
        tip = after
    return tip


def _keep(storage: Storage, second: CheckpointStore, offer: Shown) -> None:
    origin = offer.checkpoint.origin
    # The second place first: what it holds is what the log may never fall behind again.
    second.swap(origin, second.load(origin), offer.note)
    storage.swap_checkpoint(origin, storage.checkpoint(origin), offer.note)


def _note(copy: Source) -> bytes:
    return copy.note().encode()
