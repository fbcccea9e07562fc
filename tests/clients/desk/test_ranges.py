import random
import time

import numpy as np
import pytest

from clients.desk.ranges import MAX_RATE, RUNS, find_dense
from protocols.identifiers import IdentifierKind, canonicalize

PERSON, PHONE, ACCOUNT = (
    IdentifierKind.TW_PERSON_ID,
    IdentifierKind.PHONE,
    IdentifierKind.BANK_ACCOUNT,
)
HEAD = canonicalize(PHONE, "0912345678")[:-13]


def persons(letters, serials):
    """Canonical national numbers, made quickly: the watch does not look at the check digit."""
    head = b"lianfang/identifier/v1" + b"\x01\x00\x0a"
    return [
        head + b"%c1%07d0" % (letter, serial)
        for letter, serial in zip(letters, serials, strict=True)
    ]


def town_like_customers(count, seed=3):
    """Customers as registries number them: in dense blocks by county and cohort, in families."""
    source = np.random.default_rng(seed)
    counties = source.choice(20, count, p=np.arange(20, 0, -1) / 210)
    # In each county only a quarter of the numbers was ever given out, in runs of 50,000.
    cohort = source.integers(0, 50, count)
    serials = cohort * 200_000 + source.integers(0, 50_000, count)
    family = source.random(count) < 0.2
    serials[1:][family[1:]] = serials[:-1][family[1:]] + source.integers(1, 4, family[1:].sum())
    counties[1:][family[1:]] = counties[:-1][family[1:]]
    return persons((65 + counties).tolist(), serials.tolist())


@pytest.mark.parametrize("count", [50, 200, 5_000, 100_000])
def test_customers_do_not_alarm(count):
    for seed in range(5):
        assert find_dense(town_like_customers(count, seed)) is None


@pytest.mark.slow
def test_a_million_customers_do_not_alarm():
    customers = town_like_customers(1_000_000)
    began = time.process_time()
    assert find_dense(customers) is None
    assert time.process_time() - began < 5


@pytest.mark.parametrize("stride", [1, 2, 5, 10, 100, 1000])
def test_two_hundred_numbers_in_a_row_alarm(stride):
    serials = [3_000_000 + stride * step for step in range(200)]
    found = find_dense(persons([65] * 200, serials))
    assert found is not None
    assert found.asked == 200
    assert "3000000" not in found.text


@pytest.mark.parametrize("base", [1_000, 100_000])
def test_row_hidden_among_customers_alarms(base):
    row = persons([70] * 200, range(1_234_000, 1_234_200))
    mixed = [*town_like_customers(base), *row]
    random.Random(1).shuffle(mixed)
    assert find_dense(mixed) is not None


def test_phones_and_accounts_have_their_own_measure():
    source = random.Random(2)
    mobiles = [canonicalize(PHONE, f"09{source.randrange(10**8):08d}") for _ in range(20_000)]
    assert find_dense(mobiles) is None
    assert find_dense([canonicalize(PHONE, f"0912345{n:03d}") for n in range(200)]) is not None
    branch = [
        canonicalize(ACCOUNT, f"012{'00110'}{source.randrange(10**6):07d}") for _ in range(300)
    ]
    assert find_dense(branch) is None
    row = [canonicalize(ACCOUNT, f"012{'00110'}{500_000 + 10 * n:07d}") for n in range(200)]
    assert find_dense(row) is not None


def test_names_have_no_neighbours():
    lines = [canonicalize(IdentifierKind.LINE_ID, f"name{n:05d}") for n in range(500)]
    assert find_dense(lines) is None
    assert find_dense([]) is None


def test_repeated_numbers_are_no_row():
    assert find_dense(persons([65] * 500, [7] * 500)) is None


def test_gapless_rows_alarm_at_any_size_of_the_base():
    # The local rate is capped, so that the longest run alarms however much else is asked.
    row = persons([70] * RUNS[1], range(5_000_000, 5_000_000 + RUNS[1]))
    spread = persons([65] * 100_000, range(0, 10_000_000, 100))
    assert MAX_RATE < 1
    assert find_dense([*spread, *row]) is not None
