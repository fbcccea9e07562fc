"""Averaging under masks: they cancel in the sum of all, and in nothing less."""

import contextlib
import itertools

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.seal import derive_mask_key, derive_pair
from protocols.vertical.averaging import (
    CLIP_NORM,
    FRACTION_BITS,
    MAX_ROWS,
    Averaging,
    average,
    decode_masked,
    decode_reals,
    encode_masked,
    encode_reals,
    mask_update,
)

MEMBERS = ("line-a", "line-b", "line-c", "line-d")
PLAN = bytes(range(32))
EPHEMERAL = {name: X25519PrivateKey.generate() for name in MEMBERS}


def keys_of(ours, members, attempt=1, **changes):
    bound = {"run": "spring", "plan_hash": PLAN, "phase": "learn", "attempt": attempt} | changes
    return {
        name: derive_mask_key(
            EPHEMERAL[ours],
            EPHEMERAL[name].public_key().public_bytes_raw(),
            ours=ours,
            theirs=name,
            **bound,
        )
        for name in members
        if name != ours
    }


def parts_of(updates, rows, members, attempt=1):
    return {
        name: (
            mask_update(updates[name], rows[name], name, keys_of(name, members, attempt)),
            rows[name],
        )
        for name in members
    }


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(2, 4), st.integers(1, 50))
def test_average_is_that_of_the_updates(seed, count, size):
    source = np.random.default_rng(seed)
    members = MEMBERS[:count]
    updates = {name: source.standard_normal(size) for name in members}
    rows = {name: int(source.integers(1, 10_000)) for name in members}
    found = average(parts_of(updates, rows, members).values())
    total = sum(rows.values())
    expected = sum(updates[name] * rows[name] for name in members) / total
    assert np.abs(found - expected).max() <= 2.0**-FRACTION_BITS


def test_no_part_and_no_sum_of_less_than_all_tells_anything():
    # Zero updates: what is left of any mask would be the only thing to see.
    size = 4000
    members = MEMBERS[:3]
    updates = dict.fromkeys(members, np.zeros(size))
    parts = parts_of(updates, dict.fromkeys(members, 5), members)
    for count in (1, 2):
        for chosen in itertools.combinations(members, count):
            words = np.zeros(size, dtype=np.uint64)
            for name in chosen:
                words += parts[name][0]
            assert len(np.unique(words)) == size
            bits = np.unpackbits(words.view(np.uint8)).mean()
            assert abs(bits - 0.5) < 5 * 0.5 / (64 * size) ** 0.5
    assert not average(parts.values()).any()


def test_mask_is_another_for_every_round_run_plan_and_purpose():
    keys = [
        keys_of("line-a", MEMBERS[:2])["line-b"],
        keys_of("line-a", MEMBERS[:2], attempt=2)["line-b"],
        keys_of("line-a", MEMBERS[:2], run="summer")["line-b"],
        keys_of("line-a", MEMBERS[:2], plan_hash=bytes(32))["line-b"],
        keys_of("line-a", MEMBERS[:2], phase="train")["line-b"],
    ]
    assert len(set(keys)) == len(keys)
    assert keys_of("line-b", MEMBERS[:2])["line-a"] == keys[0]
    pair = derive_pair(
        EPHEMERAL["line-a"], EPHEMERAL["line-b"].public_key().public_bytes_raw(), run="spring",
        plan_hash=PLAN, ours="line-a", theirs="line-b", phase="learn", attempt=1,
    )  # fmt: skip
    assert pair.sealer._cipher is not None
    zeros = [mask_update(np.zeros(8), 1, "line-a", {"line-b": key}) for key in keys]
    assert len({words.tobytes() for words in zeros}) == len(keys)


@pytest.mark.parametrize("norm", [0.5, CLIP_NORM, 10 * CLIP_NORM])
def test_update_is_cut_to_the_public_norm(norm):
    update = np.ones(16) * norm / 4
    updates = {"line-a": update, "line-b": np.zeros(16)}
    found = average(parts_of(updates, {"line-a": 3, "line-b": 1}, MEMBERS[:2]).values())
    assert np.linalg.norm(found) * 4 / 3 == pytest.approx(min(norm, CLIP_NORM), rel=1e-5)


def test_largest_sum_stays_in_the_ring():
    names = [f"m{number:02d}" for number in range(15)]
    words = [
        (mask_update(np.array([CLIP_NORM]), MAX_ROWS, name, {"z": bytes(32)}), MAX_ROWS)
        for name in names
    ]
    last = mask_update(np.array([CLIP_NORM]), MAX_ROWS, "z", dict.fromkeys(names, bytes(32)))
    assert average([*words, (last, MAX_ROWS)]) == pytest.approx([CLIP_NORM])


def test_rounds_add_up():
    averaging = Averaging(MEMBERS[:2])
    rows = dict.fromkeys(MEMBERS[:2], 10)
    for attempt in (1, 2, 3):
        updates = {"line-a": np.full(4, 0.25), "line-b": np.full(4, 0.75)}
        moved = averaging.add_round(parts_of(updates, rows, MEMBERS[:2], attempt))
        assert np.allclose(moved, 0.5 * attempt)


def test_round_without_a_member_is_refused():
    parts = parts_of(dict.fromkeys(MEMBERS, np.ones(4)), dict.fromkeys(MEMBERS, 2), MEMBERS)
    del parts["line-c"]
    with pytest.raises(MalformedMessageError, match="not the updates of all members"):
        Averaging(MEMBERS).add_round(parts)


def test_masks_of_different_rounds_are_noticed():
    updates = dict.fromkeys(MEMBERS[:2], np.ones(64))
    rows = dict.fromkeys(MEMBERS[:2], 2)
    parts = parts_of(updates, rows, MEMBERS[:2])
    parts["line-b"] = parts_of(updates, rows, MEMBERS[:2], attempt=2)["line-b"]
    with pytest.raises(MalformedMessageError, match="masks do not cancel"):
        Averaging(MEMBERS[:2]).add_round(parts)


def test_other_size_is_refused():
    rows = dict.fromkeys(MEMBERS[:2], 2)
    averaging = Averaging(MEMBERS[:2])
    averaging.add_round(parts_of(dict.fromkeys(MEMBERS[:2], np.ones(4)), rows, MEMBERS[:2]))
    with pytest.raises(MalformedMessageError, match="another size than in the round before"):
        averaging.add_round(
            parts_of(dict.fromkeys(MEMBERS[:2], np.ones(5)), rows, MEMBERS[:2], attempt=2)
        )
    with pytest.raises(MalformedMessageError, match="updates of 2 sizes"):
        average([(np.zeros(3, dtype=np.uint64), 1), (np.zeros(4, dtype=np.uint64), 1)])


@pytest.mark.parametrize("rows", [0, -1, MAX_ROWS + 1])
def test_impossible_rows_are_refused(rows):
    with pytest.raises(UnsupportedParameterError, match="rows or members out of range"):
        mask_update(np.zeros(3), rows, "line-a", {"line-b": bytes(32)})
    with pytest.raises(MalformedMessageError, match="rows out of range"):
        average([(np.zeros(3, dtype=np.uint64), rows)])


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_update_that_is_no_number_is_refused(bad):
    with pytest.raises(UnsupportedParameterError, match="need finite numbers"):
        mask_update(np.array([0.0, bad]), 1, "line-a", {"line-b": bytes(32)})


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_weights_come_back(values):
    found = np.array(values, dtype=np.float64)
    assert np.array_equal(decode_reals(encode_reals(found)), found)
    words = found.view(np.uint64)
    assert np.array_equal(decode_masked(encode_masked(words)), words)


@given(
    st.one_of(st.text(max_size=40), st.none(), st.integers(), st.binary(max_size=20).map(bytes.hex))
)
def test_any_text_is_weights_or_malformed(text):
    for decode in (decode_reals, decode_masked):
        with contextlib.suppress(MalformedMessageError):
            assert len(decode(text)) * 16 <= len(text)
