"""A million customers against a million records, and the next day against what changed."""

import os
import time

import numpy as np
import polars as pl
import pytest

from clients.desk.columns import load_column
from clients.desk.desk import Desk
from clients.desk.screening import Screening
from clients.lookup.cache import OutputCache
from protocols.identifiers import IdentifierKind, national_checksum
from protocols.lookup.light import Colour
from protocols.lookup.record import seal_record

COUNT = 1_000_000
HITS = 10_000
EPOCH = 5
PERSON = IdentifierKind.TW_PERSON_ID


def numbers(count):
    """Synthetic national numbers spread like those of customers, with right check digits."""
    source = np.random.default_rng(1)
    serials = source.choice(10**7, count, replace=False)
    digits = serials[:, None] // 10 ** np.arange(6, -1, -1) % 10
    letters = source.integers(0, 26, count)
    sums = np.array([national_checksum(chr(65 + at), "0" * 9) for at in range(26)])[letters]
    totals = sums + 8 + digits @ np.arange(7, 0, -1)
    for letter, serial, total in zip(letters.tolist(), serials.tolist(), totals, strict=True):
        yield f"{chr(65 + letter)}1{serial:07d}{-int(total) % 10}"


@pytest.mark.slow
def test_a_million_customers_against_a_million_records(town, tmp_path):
    path, out = tmp_path / "customers.parquet", tmp_path / "result.parquet"
    pl.DataFrame({"id": list(numbers(COUNT))}).write_parquet(path)
    canonical = load_column(path, "id", PERSON).canonical
    assert len(canonical) == COUNT
    cache = OutputCache(town.home(), EPOCH, os.urandom)
    cache.add(canonical, [os.urandom(64) for _ in range(COUNT)])
    payload = town.payload()
    sealed = [
        seal_record(root, EPOCH, payload, os.urandom(12))
        for root in cache.roots(np.arange(2 * HITS))
    ]
    town.publish_records(sealed[:HITS] + [os.urandom(76) for _ in range(COUNT - HITS)])
    town.publish(contributor="telecom")
    with Desk(town.home().root, clock=town.clock) as desk:
        began = time.process_time()
        first = Screening(desk, path, column="id", kind=PERSON).run(out)
        full_s = time.process_time() - began
        assert (first.evaluated, first.lights[Colour.RED]) == (0, HITS)
    # The next day: a hundredth of the table is new, and half of that are customers.
    town.clock.advance(86_400)
    town.publish_records(sealed[HITS:] + [os.urandom(76) for _ in range(HITS // 2)])
    town.publish(contributor="telecom")
    with Desk(town.home().root, clock=town.clock) as desk:
        began = time.process_time()
        again = Screening(desk, path, column="id", kind=PERSON).run(out)
        again_s = time.process_time() - began
    assert again.changes == {(Colour.GREEN, Colour.RED): HITS}
    assert town.used() == 0
    # CPU seconds of the desk and of the hub that serves it the tables, twice what they are alone.
    assert full_s <= 30
    assert again_s <= 10
