"""Which requests were admitted before: 18 bytes of memory for each, however many there are.

A book never forgets a request, and a busy asker makes millions in an epoch. A dictionary takes
ten times as much for each; here short tags of id and digest lie in buckets of plain bytes, which
are searched whole. Tags are made with a key that every process draws for itself: nobody outside
can make two requests meet in one, or fill one bucket.

Among 10^8 requests of one asker two ids have the same tag with a chance of 4e-9; the second
would be refused as a replay until the process is started anew. A request that takes the id of
another one has its digest's tag with a chance of 5e-20.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import blake2b

from protocols.lookup.signing import DIGEST_SIZE
from protocols.oprf.messages import REQUEST_ID_SIZE

KEY_SIZE = 32
_BUCKETS = 1 << 10
_ID_TAG, _DIGEST_TAG = 10, 8
_SIZE = _ID_TAG + _DIGEST_TAG


class KnownRequests:
    """The requests of one asker, by their ids; the caller lets in one thread at a time."""

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._key = random(KEY_SIZE)
        self._buckets: dict[int, bytearray] = {}

    def __contains__(self, request_id: bytes) -> bool:
        return self._find(*self._place(request_id)) is not None

    def same(self, request_id: bytes, digest: bytes) -> bool | None:
        """Tell whether the request with an id is this one; None if there was none."""
        found = self._find(*self._place(request_id))
        return None if found is None else found == self._tag(digest, _DIGEST_TAG)

    def add(self, request_id: bytes, digest: bytes) -> None:
        """Add a request whose id is new."""
        if len(request_id) != REQUEST_ID_SIZE or len(digest) != DIGEST_SIZE:
            raise ValueError("request: id or digest of another length")
        number, tag = self._place(request_id)
        bucket = self._buckets.setdefault(number, bytearray())
        bucket.extend(tag + self._tag(digest, _DIGEST_TAG))

    def _find(self, number: int, tag: bytes) -> bytes | None:
        """Return the tag of the digest that was kept with the tag of an id."""
        bucket = self._buckets.get(number, b"")
        at = bucket.find(tag)
        while at > 0 and at % _SIZE:
            # The same bytes across two requests: not the beginning of one.
            at = bucket.find(tag, at + 1)
        return None if at < 0 else bytes(bucket[at + _ID_TAG : at + _SIZE])

    def _place(self, request_id: bytes) -> tuple[int, bytes]:
        """Return bucket and tag of an id."""
        drawn = self._tag(request_id, 2 + _ID_TAG)
        return int.from_bytes(drawn[:2], "big") % _BUCKETS, drawn[2:]

    def _tag(self, data: bytes, size: int) -> bytes:
        return blake2b(data, digest_size=size, key=self._key).digest()
