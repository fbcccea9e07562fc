"""`lianfang bench serve`: a very large table on the hub, and what serving it takes in memory.

The table is of random bytes in the form of records, signed by the police: it says nothing,
but the hub, which cannot read a record of any table, works on it as on a real one. It is
published through the API in as many versions as one body can carry, then fetched in every
way that there is: whole, continued half way, by buckets, by filter and digests, by delta.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from clients.bench.lookup_town import ASKER, CONTRIBUTOR, LookupTown, lookup_town
from clients.bench.meters import measured, peak_rss_mb, reset_peak, surroundings
from clients.feed.drafts import mapped, write_chunks
from clients.keys import credentials, load_keys
from clients.lookup.api import HubApi
from clients.lookup.trust import Trust
from clients.node.home import Home
from clients.output import CommandError
from compliance.clock import SystemClock
from protocols.epoch.manifest import EpochManifest
from protocols.lookup.bucket import open_bucket
from protocols.lookup.delta import make_delta, merge
from protocols.lookup.header import SignedHeader
from protocols.lookup.record import RECORD_SIZE
from protocols.lookup.table import check_digests, check_table

# The hub takes 128 MiB a body: 1.7 million records.
MOST_AT_ONCE = 1_700_000
BUCKETS = 500
DELTA_PERCENT = 1
TARGET_RSS_MB = 1024.0
_SEED = 13

Tell = Callable[[str], None]


def measure_serving(*, records: int, tell: Tell) -> dict[str, Any]:
    """Publish and fetch a table of `records`, and return every figure."""
    around = surroundings()
    with tempfile.TemporaryDirectory(prefix="lianfang-bench-") as place:
        root = Path(place)
        tell("bringing up hub and holders")
        with lookup_town(root, asked=1, published=1) as town:
            return _Serving(root, town, records, tell).measure() | around


class _Serving:
    """One table at one hub, as its contributor and one asker see it."""

    def __init__(self, root: Path, town: LookupTown, records: int, tell: Tell) -> None:
        self._root = root
        self._town = town
        self._records = records
        self._tell = tell
        self._random = np.random.default_rng(_SEED)
        self._phases: dict[str, dict[str, Any]] = {}
        self._signed: SignedHeader | None = None
        self._table = root / "0.table"

    def measure(self) -> dict[str, Any]:
        home = Home(self._town.contributor)
        with HubApi(home.config().api, credentials(home.keys)) as api:
            manifest = Trust(home).manifest(api, SystemClock().now())
            self._begin(api, manifest)
            self._phase("delta", "feed", lambda: self._add(api, manifest, self._delta_size))
        asker = Home(self._town.asker)
        with HubApi(asker.config().api, credentials(asker.keys)) as api:
            self._phase("whole", ASKER, lambda: self._fetch_whole(api))
            self._phase("buckets", ASKER, lambda: self._fetch_buckets(api))
            self._phase("since", ASKER, lambda: self._fetch_delta(api))
        peak = max(phase["hub_peak_rss_mb"] for phase in self._phases.values())
        return {
            "records": self._header.header.count,
            "bytes": self._header.header.count * RECORD_SIZE,
            "versions": self._header.header.version,
            "phases": self._phases,
            "hub_peak_rss_mb": peak,
            "target_rss_mb": TARGET_RSS_MB,
            "met": peak <= TARGET_RSS_MB,
        }

    @property
    def _header(self) -> SignedHeader:
        if self._signed is None:
            raise CommandError("bench: nothing is published")
        return self._signed

    @property
    def _delta_size(self) -> int:
        return max(1, self._records * DELTA_PERCENT // 100)

    def _begin(self, api: HubApi, manifest: EpochManifest) -> None:
        steps = math.ceil(self._records / MOST_AT_ONCE)
        ends = [self._records * step // steps for step in range(steps + 1)]

        def publish() -> None:
            for start, end in pairwise(ends):
                self._add(api, manifest, end - start)

        self._phase("publish", CONTRIBUTOR, publish)

    def _phase(self, name: str, own: str, work: Callable[[], None]) -> None:
        """Do and measure one thing; the hub's peak is that of this phase alone."""
        self._tell(name)
        hub = self._town.pids["hub"]
        reset_peak(hub)
        with measured({"hub": hub}, own, self._town.port) as usage:
            work()
        self._phases[name] = usage.fields() | {"hub_peak_rss_mb": round(peak_rss_mb(hub), 1)}

    def _add(self, api: HubApi, manifest: EpochManifest, count: int) -> None:
        """Publish so many more records as the next version."""
        base = mapped(self._table) if self._signed is not None else b""
        delta = make_delta(
            load_keys(Home(self._town.contributor).keys).identity,
            base,
            self._signed,
            hub=manifest.hub,
            epoch=manifest.epoch,
            contributor=CONTRIBUTOR,
            number=manifest.contributors[CONTRIBUTOR],
            removed=(),
            upserted=self._random_records(count),
            now=SystemClock().now(),
        )
        after = self._root / f"{delta.after.header.version}.table"
        write_chunks(after, merge(base, delta))
        self._table.unlink(missing_ok=True)
        self._table = after
        api.publish(manifest.epoch, CONTRIBUTOR, delta)
        self._signed = delta.after

    def _random_records(self, count: int) -> Iterator[bytes]:
        data = self._random.bytes(count * RECORD_SIZE)
        return (data[at : at + RECORD_SIZE] for at in range(0, len(data), RECORD_SIZE))

    def _fetch_whole(self, api: HubApi) -> None:
        """Fetch half of the table, as if the line had broken, then go on from there."""
        header, path = self._header.header, self._root / "fetched.table"
        half = header.count // 2 * RECORD_SIZE
        with path.open("wb+") as sink:
            api.table(header.epoch, header.contributor, header.version, sink)
            sink.truncate(half)
            api.table(header.epoch, header.contributor, header.version, sink)
        check_table(header, mapped(path))
        path.unlink()

    def _fetch_buckets(self, api: HubApi) -> None:
        header = self._header.header
        where = (header.epoch, header.contributor, header.version)
        digests = api.digests(*where)
        check_digests(header, digests)
        api.filter(*where)
        sizes = set()
        for index in self._random.integers(0, 1 << header.prefix_bits, BUCKETS).tolist():
            padded = api.bucket(*where, index)
            open_bucket(padded, digests, header.prefix_bits, index)
            sizes.add(len(padded))
        if len(sizes) != 1:
            raise CommandError("bench: buckets differ in size")

    def _fetch_delta(self, api: HubApi) -> None:
        header = self._header.header
        delta = api.delta(header.epoch, header.contributor, header.version, header.version - 1)
        if delta.after.header.digest != header.digest:
            raise CommandError("bench: the delta leads elsewhere")


def serving_text(figures: dict[str, Any]) -> str:
    """Put the figures in a few lines for people."""
    lines = [
        f"{figures['records']:,} records, {figures['bytes']:,} bytes, "
        f"published in {figures['versions']} versions"
    ]
    for name, phase in figures["phases"].items():
        lines.append(
            f"  {name:<9} {phase['wall_s']:8.1f} s; processor seconds of the hub "
            f"{phase['cpu_s']['hub']:.2f}; its largest memory {phase['hub_peak_rss_mb']:,.0f} MB"
        )
    lines.append(
        f"  largest of all {figures['hub_peak_rss_mb']:,.0f} MB, "
        f"{figures['target_rss_mb']:,.0f} wanted: {'met' if figures['met'] else 'NOT met'}"
    )
    return "\n".join(lines)
