"""Pseudonyms and the choices that follow from them."""

import numpy as np
import pytest

from protocols.align.pseudonyms import (
    KeyedHashSource,
    held_out,
    pseudonym,
    pseudonyms,
    sample,
)
from protocols.errors import UnsupportedParameterError

KEY = bytes(range(32))
OTHER = bytes(32)


def people(count: int, run_key: bytes = KEY) -> np.ndarray:
    source = KeyedHashSource.of_run(run_key)
    return pseudonyms(run_key, source.evaluate([f"person {i}".encode() for i in range(count)]))


def test_single_and_batch_agree():
    outputs = [bytes([i]) * 64 for i in range(5)]
    batch = pseudonyms(KEY, outputs)
    assert [row.tobytes() for row in batch] == [pseudonym(KEY, output) for output in outputs]
    assert len(pseudonym(KEY, outputs[0])) == 16


def test_another_run_shares_no_pseudonym():
    first, second = ({row.tobytes() for row in people(500, key)} for key in (KEY, OTHER))
    assert len(first) == len(second) == 500
    assert not first & second


def test_same_output_under_two_keys_differs():
    # The run key must count even where the source is the same function in every run.
    assert pseudonym(KEY, bytes(64)) != pseudonym(OTHER, bytes(64))


def test_source_is_derived_from_the_run_key():
    assert KeyedHashSource.of_run(KEY).key not in {KEY, KeyedHashSource.of_run(OTHER).key}
    assert "\\x" not in repr(KeyedHashSource.of_run(KEY))


@pytest.mark.parametrize("draw", [sample, held_out])
def test_fraction_is_kept_and_alike_everywhere(draw):
    rows = people(20_000)
    chosen = draw(KEY, rows, 0.3)
    assert abs(chosen.mean() - 0.3) < 5 * (0.3 * 0.7 / 20_000) ** 0.5
    # Another partner holds other rows in another order and chooses the same people.
    order = np.random.default_rng(0).permutation(20_000)[:7_000]
    assert (draw(KEY, rows[order], 0.3) == chosen[order]).all()


@pytest.mark.parametrize("draw", [sample, held_out])
def test_larger_fraction_keeps_the_smaller(draw):
    rows = people(2_000)
    small, large = draw(KEY, rows, 0.1), draw(KEY, rows, 0.4)
    assert (large | ~small).all()
    assert draw(KEY, rows, 1.0).all()
    assert not draw(KEY, rows, 0.0).any()


def test_sampling_and_holding_out_are_independent():
    rows = people(20_000)
    both = sample(KEY, rows, 0.5) & held_out(KEY, rows, 0.5)
    assert abs(both.mean() - 0.25) < 5 * (0.25 * 0.75 / 20_000) ** 0.5


def test_choice_needs_the_run_key():
    rows = people(2_000)
    agreement = (held_out(KEY, rows, 0.5) == held_out(OTHER, rows, 0.5)).mean()
    assert abs(agreement - 0.5) < 0.06


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(UnsupportedParameterError):
        sample(KEY, people(1), fraction)


def test_short_key_or_output_is_refused():
    with pytest.raises(UnsupportedParameterError):
        pseudonyms(KEY[:31], [bytes(64)])
    with pytest.raises(UnsupportedParameterError):
        pseudonyms(KEY, [bytes(64), bytes(31)])


def test_empty_table_gives_no_pseudonym():
    assert pseudonyms(KEY, []).shape == (0, 16)


@pytest.mark.slow
def test_share_of_a_million_rows_is_the_wanted_one():
    # Ten standard deviations of a draw of so many.
    assert abs(sample(KEY, people(1_000_000), 0.1).mean() - 0.1) < 0.003
