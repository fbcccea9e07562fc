"""Tables for a desk that keeps none: padded buckets, fetched for every check.

For each identifier and contributor the desk fetches the two buckets in which its tags would
stand, always both, whatever is in them, and as many buckets drawn at random, all in one
shuffled order. The number of requests and their sizes depend on nothing but the numbers of
identifiers and contributors; half of the indices mean nothing, and the hub cannot tell which.

    lookup/thin/<root>.digests   bucket digests of a table, which its signed root covers

Privacy:
    Two checks of one identifier fetch the same two buckets among the covers, so that a hub
    that watches for long may guess that somebody was checked again; never who, never what
    was found. A desk that can keep whole tables should.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clients.lookup.api import TableEntry
from clients.lookup.session import Lookup
from clients.lookup.tables import Table, verify_entry
from clients.node.files import make_private_directory
from compliance.files import write_atomically
from protocols.epoch.manifest import EpochManifest
from protocols.errors import InvalidProofError
from protocols.lookup.bucket import bucket_index, open_bucket
from protocols.lookup.derivation import derive_tags
from protocols.lookup.table import TableHeader, check_digests


class ThinTables:
    """Fetches what the contributors may say about some identifiers, and covers for it."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._folder = make_private_directory(lookup.home.root / "lookup" / "thin")

    def fetch(self, roots: Sequence[bytes]) -> dict[str, Table]:
        """Return, for each contributor, its buckets that may hold these identifiers.

        Raises:
            TransportError: the hub stays away.
            InvalidProofError: a list, header or bucket was not signed as it must be.
        """
        manifest = self._lookup.epoch().manifest
        tables = self._lookup.api.tables(manifest.epoch)
        self._lookup.trust.verify_list(tables, manifest)
        return {
            entry.contributor: self._fetch_one(entry, manifest, roots) for entry in tables.entries
        }

    def _fetch_one(
        self, entry: TableEntry, manifest: EpochManifest, roots: Sequence[bytes]
    ) -> Table:
        header = verify_entry(self._lookup.trust, entry, manifest)
        digests = self._digests(header)
        wanted = {
            bucket_index(tag, header.prefix_bits)
            for root in roots
            for tag in derive_tags(root, header.number)
        }
        fetched = {}
        for index in self._with_covers(wanted, 4 * len(roots), header.prefix_bits):
            padded = self._lookup.api.bucket(
                header.epoch, header.contributor, header.version, index
            )
            # Covers are verified alike: a hub that answers some of them wrongly must not
            # learn from our behaviour which ones counted.
            fetched[index] = open_bucket(padded, digests, header.prefix_bits, index)
        return Table(header, b"".join(fetched[index] for index in sorted(wanted)))

    def _with_covers(self, wanted: set[int], count: int, prefix_bits: int) -> list[int]:
        """Return `count` indices: all that are wanted and random ones, shuffled."""
        covers = count - len(wanted)
        draws = np.frombuffer(self._lookup.random(8 * (covers + count)), np.uint64)
        drawn = (draws[:covers] & np.uint64((1 << prefix_bits) - 1)).tolist()
        indices = sorted(wanted) + drawn
        return [indices[at] for at in np.argsort(draws[covers:], kind="stable")]

    def _digests(self, header: TableHeader) -> bytes:
        path = self._folder / f"{header.root.hex()}.digests"
        if path.exists():
            found = path.read_bytes()
        else:
            api = self._lookup.api
            found = api.digests(header.epoch, header.contributor, header.version)
        try:
            check_digests(header, found)
        except InvalidProofError:
            path.unlink(missing_ok=True)
            raise
        if not path.exists():
            write_atomically(path, found)
        return found
