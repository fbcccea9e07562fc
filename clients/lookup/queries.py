"""Every blinded request of this node, kept so that it can be repeated and opened.

    lookup/queries/open/<request>.query    written before the request is sent
    lookup/queries/<epoch>/<request>.query moved here when its outputs are safe elsewhere
    lookup/queries/<epoch>/<request>.receipt  what the hub signed for it

Durability: `add` returns when the query is on disk. A process that dies later finds it in
`open/` and sends the very same bytes again, which no holder charges twice. Blinds are not
stored: they follow from the opening key and the request's number. All files are sealed.

When a person is erased, its identifiers are taken out of queries, and a query that asked for
nobody else goes. What is left of a batch shows whom else it asked for, but can no longer be
opened to an auditor: the batch cannot be blinded again without the erased input. The deletion
certificate accounts for it.

Concurrency: a query belongs to the process that holds the lock on its file; one that a
killed process left behind is free to take.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from clients.lookup.secrets import CACHE_KEY, Random, derive_key, keep_secret, seal, unseal
from clients.node.files import exclusive, make_private_directory
from clients.node.home import Home
from compliance.files import write_atomically
from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError
from protocols.lookup.receipt import Receipt
from protocols.lookup.request import CASE_SALT_SIZE, NO_CASE, Purpose, commit_case, read_purpose
from protocols.oprf.messages import REQUEST_ID_SIZE
from protocols.oprf.records import KEY_ID_SIZE
from protocols.oprf.suite import MAX_BATCH

_VERSION = 1


@dataclass(frozen=True, slots=True)
class StoredQuery:
    """What was asked: enough to send it again, byte by byte, and to open it to an auditor.

    Attributes:
        reference: the case as the desk calls it; empty where the purpose needs none.
        inputs: canonical identifiers in the order in which they were blinded.
    """

    epoch: int
    key_id: bytes
    request_id: bytes
    purpose: Purpose
    reference: str = field(repr=False)
    salt: bytes = field(repr=False)
    asked_at: int
    inputs: tuple[bytes, ...] = field(repr=False)

    @property
    def is_whole(self) -> bool:
        """Whether no input was erased, so that it can be sent again and opened."""
        return all(self.inputs)

    @property
    def case(self) -> bytes:
        """The commitment that travels; zeros where there is no case."""
        return commit_case(self.reference, self.salt) if self.reference else NO_CASE

    def encode(self) -> bytes:
        """Write the query; the result is secret."""
        out = Writer().u8(_VERSION).u64(self.epoch).block(self.key_id).block(self.request_id)
        out.text(self.purpose).text(self.reference).block(self.salt).u64(self.asked_at)
        out.u32(len(self.inputs))
        for item in self.inputs:
            out.block(item)
        return out.encode()

    @classmethod
    def decode(cls, data: bytes) -> StoredQuery:
        """Read a query.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "stored query")
        if (version := reader.u8()) != _VERSION:
            raise MalformedMessageError(f"stored query: version {version}, expected {_VERSION}")
        epoch, key_id, request_id = reader.u64(), reader.block(), reader.block()
        if len(key_id) != KEY_ID_SIZE or len(request_id) != REQUEST_ID_SIZE:
            raise MalformedMessageError("stored query: key or request number of a wrong size")
        purpose, reference = read_purpose(reader), reader.text()
        salt, asked_at, count = reader.block(), reader.u64(), reader.u32()
        if not 1 <= count <= MAX_BATCH or len(salt) not in {0, CASE_SALT_SIZE}:
            raise MalformedMessageError("stored query: count or salt out of range")
        inputs = tuple(reader.block() for _ in range(count))
        reader.finish()
        return cls(epoch, key_id, request_id, purpose, reference, salt, asked_at, inputs)


class QueryStore:
    """The queries of one node."""

    def __init__(self, home: Home, random: Random) -> None:
        self._root = make_private_directory(home.root / "lookup" / "queries")
        self._open = make_private_directory(self._root / "open")
        self._key = derive_key(keep_secret(home.keys / CACHE_KEY, random), b"queries/v1")
        self._random = random
        self._held: dict[bytes, int] = {}

    def add(self, query: StoredQuery) -> None:
        """Keep a query that is about to be sent; durable when this returns."""
        path = self._path(query.request_id)
        sealed = seal(self._key, query.encode(), query.request_id, self._random)
        # The lock of the folder keeps others from taking the file before it is held.
        with exclusive(self._open):
            write_atomically(path, sealed)
            self._hold(path, query.request_id)

    def unsettled(self, purpose: Purpose, reference: str) -> Iterator[StoredQuery]:
        """Take over the queries for one purpose and case that no living process is at."""
        for path in sorted(self._open.glob("*.query")):
            request_id = bytes.fromhex(path.stem)
            with exclusive(self._open):
                if request_id in self._held or not self._hold(path, request_id):
                    continue
            query = self._read(path, request_id)
            if (query.purpose, query.reference) == (purpose, reference):
                yield query
            else:
                self._release(request_id)

    def settle(self, query: StoredQuery, receipt: Receipt | None) -> None:
        """Put a query away for audits: its outputs are safe, or it will never be answered."""
        archive = make_private_directory(self._root / str(query.epoch))
        name = query.request_id.hex()
        if receipt is not None:
            sealed = seal(self._key, receipt.encode(), b"receipt" + query.request_id, self._random)
            (archive / f"{name}.receipt").write_bytes(sealed)
        self._path(query.request_id).replace(archive / f"{name}.query")
        self._release(query.request_id)

    def release(self, query: StoredQuery) -> None:
        """Leave a query open, for whoever comes next."""
        self._release(query.request_id)

    def find(self, epoch: int, request_id: bytes) -> StoredQuery | None:
        """Return a query by its number, settled or not; None also if a part was erased."""
        for path in (self._root / str(epoch) / f"{request_id.hex()}.query", self._path(request_id)):
            if path.exists():
                query = self._read(path, request_id)
                return query if query.is_whole else None
        return None

    def about(self, canonical: Collection[bytes]) -> list[StoredQuery]:
        """Return every query that asked for one of these identifiers, oldest first."""
        wanted = [query for query in self._all() if not set(canonical).isdisjoint(query.inputs)]
        return sorted(wanted, key=lambda query: (query.asked_at, query.request_id))

    def erase(self, canonical: Collection[bytes]) -> tuple[int, int]:
        """Take identifiers out of all queries; returns in how many, and how many are at work.

        A query that a living process is at is left: erase again when it is settled.
        """
        erased = busy = 0
        for query in self.about(canonical):
            path = self._root / str(query.epoch) / f"{query.request_id.hex()}.query"
            if not path.exists() and not self._take_out(query, path):
                busy += 1
                continue
            self._rewrite(query, path, canonical)
            erased += 1
        return erased, busy

    def _take_out(self, query: StoredQuery, path: Path) -> bool:
        """Settle a query that is open, since it can never be sent again."""
        with exclusive(self._open):
            if query.request_id in self._held or not self._hold(
                self._path(query.request_id), query.request_id
            ):
                # Held, or settled in this moment.
                return path.exists()
        self.settle(query, None)
        return True

    def _rewrite(self, query: StoredQuery, path: Path, canonical: Collection[bytes]) -> None:
        left = tuple(b"" if item in canonical else item for item in query.inputs)
        if not any(left):
            path.unlink()
            return
        rest = replace(query, inputs=left).encode()
        write_atomically(path, seal(self._key, rest, query.request_id, self._random))

    def _all(self) -> Iterator[StoredQuery]:
        # Open ones first, and listed first: one that is settled meanwhile is found in the
        # archive, which is listed after that.
        seen: set[str] = set()
        for folder in (self._open.glob("*.query"), self._root.glob("[0-9]*/*.query")):
            for path in folder:
                if path.stem not in seen and path.exists():
                    with suppress(FileNotFoundError):
                        yield self._read(path, bytes.fromhex(path.stem))
                        seen.add(path.stem)

    def requests(self, epoch: int) -> Sequence[bytes]:
        """List the numbers of the epoch's settled queries."""
        folder = self._root / str(epoch)
        return [bytes.fromhex(path.stem) for path in sorted(folder.glob("*.query"))]

    def _path(self, request_id: bytes) -> Path:
        return self._open / f"{request_id.hex()}.query"

    def _read(self, path: Path, request_id: bytes) -> StoredQuery:
        subject = f"query {request_id.hex()}"
        query = StoredQuery.decode(unseal(self._key, path.read_bytes(), request_id, subject))
        if query.request_id != request_id:
            raise MalformedMessageError(f"{subject}: holds another number")
        return query

    def _hold(self, path: Path, request_id: bytes) -> bool:
        """Lock a query's file; False if a living process has it, or has just settled it."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        if not path.exists():
            os.close(descriptor)
            return False
        self._held[request_id] = descriptor
        return True

    def _release(self, request_id: bytes) -> None:
        descriptor = self._held.pop(request_id, None)
        if descriptor is not None:
            os.close(descriptor)
