"""Which requests were admitted before: 48 bytes of memory for each, however many there are.

A book never forgets a request, and a busy asker makes millions in an epoch. A dictionary takes
four times as much for each; here they lie in buckets of plain bytes, which are searched whole.
Into which bucket a request falls is drawn anew in every process, so that no asker can fill one.
"""

from __future__ import annotations

from protocols.lookup.signing import DIGEST_SIZE
from protocols.oprf.messages import REQUEST_ID_SIZE

_BUCKETS = 1 << 10
_SIZE = REQUEST_ID_SIZE + DIGEST_SIZE


class KnownRequests:
    """The requests of one asker, by their ids; the caller lets in one thread at a time."""

    def __init__(self) -> None:
        self._buckets: dict[int, bytearray] = {}

    def __contains__(self, request_id: bytes) -> bool:
        return self.digest(request_id) is not None

    def digest(self, request_id: bytes) -> bytes | None:
        """Return the digest of the request with an id, or None if there was none."""
        bucket = self._buckets.get(_bucket_of(request_id), b"")
        at = bucket.find(request_id)
        while at > 0 and at % _SIZE:
            # The same bytes within another id or digest: not the beginning of a request.
            at = bucket.find(request_id, at + 1)
        return None if at < 0 else bytes(bucket[at + REQUEST_ID_SIZE : at + _SIZE])

    def add(self, request_id: bytes, digest: bytes) -> None:
        """Add a request whose id is new."""
        if len(request_id) != REQUEST_ID_SIZE or len(digest) != DIGEST_SIZE:
            raise ValueError("request: id or digest of another length")
        self._buckets.setdefault(_bucket_of(request_id), bytearray()).extend(request_id + digest)


def _bucket_of(request_id: bytes) -> int:
    # Python's hash of bytes has a key of its own in every process.
    return hash(request_id) % _BUCKETS
