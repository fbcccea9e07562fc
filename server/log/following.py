"""The second place of a worker that has its own: it follows what another one has published.

Of several workers one signs and publishes; the second places of the others fall behind, which
must not look as if somebody had put them back. So what is published and signed by the log's
own key is taken over, once it is shown to extend what this place holds. A storage that was put
back is noticed still, by every place that is ahead of it.
"""

from __future__ import annotations

from collections.abc import Callable

from compliance.log.log import verify_own
from compliance.log.second import CheckpointStore
from compliance.log.storage import Storage
from compliance.log.tree import StoredTree
from protocols.tlog.note import VerifierKey


class FollowingCheckpoints:
    """The contract of `compliance.log.second.CheckpointStore`, never behind what is published.

    Args:
        own: this worker's second place.
        key_of: the key that signs the log of an origin.
    """

    def __init__(
        self, own: CheckpointStore, storage: Storage, key_of: Callable[[str], VerifierKey]
    ) -> None:
        self._own = own
        self._storage = storage
        self._key_of = key_of

    def load(self, origin: str) -> bytes | None:
        """Return the checkpoint, or None if there never was one."""
        kept = self._own.load(origin)
        published = self._storage.checkpoint(origin)
        if kept is None or published is None:
            return kept  # lost or new: what is published says nothing about which
        key = self._key_of(origin)
        before, after = verify_own(kept, key), verify_own(published, key)
        if after.size <= before.size:
            return kept
        tree = StoredTree(self._storage, origin, after.size)
        if tree.root(before.size) != before.root:
            return kept  # another history: the log finds the same, and stops
        self._own.swap(origin, kept, published)
        return self._own.load(origin)

    def swap(self, origin: str, old: bytes | None, new: bytes) -> bool:
        """Replace the checkpoint if it is still `old`; tell whether it was."""
        return self._own.swap(origin, old, new)
