"""Deltas: what they lead to equals a table made from scratch, whichever way is taken."""

import dataclasses
import hashlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.lookup.changes import plan_changes
from protocols.lookup.delta import Delta, compose, merge
from protocols.lookup.table import check_table, sign_header, verify_header


def row(tag, version=0):
    """A record by the number of its tag; every version has another nonce and ciphertext."""
    text = f"{tag}/{version}".encode()
    body = hashlib.sha512(text).digest()[:60]
    return tag.to_bytes(16, "big") + body


def tags_of(numbers):
    return [number.to_bytes(16, "big") for number in numbers]


def by_tag(table):
    return b"".join(table[tag] for tag in sorted(table))


def follow(data, delta):
    found = b"".join(merge(data, delta))
    check_table(delta.after.header, found)
    return found


# Numbers of tags that differ in the first eight bytes, in the last eight, and in both.
numbers = st.integers(0, 15).map(lambda n: n % 4 + (n // 4 << 64))
history = st.lists(
    st.tuples(st.sets(numbers, max_size=6), st.sets(numbers, max_size=6)), min_size=1, max_size=5
)


def play(next_version, plays):
    """Publish a table step by step; return its deltas and its contents after each."""
    table, before, deltas, states = {}, None, [], [b""]
    for version, (gone, put) in enumerate(plays):
        removed = (gone & set(table)) - put
        table = {tag: kept for tag, kept in table.items() if tag not in removed}
        table |= {tag: row(tag, version) for tag in put}
        new = [table[tag] for tag in put]
        delta = next_version(states[-1], before, tags_of(removed), new)
        before = delta.after
        deltas.append(delta)
        states.append(by_tag(table))
    return deltas, states


@given(history)
def test_merge_equals_a_table_from_scratch(next_version, plays):
    deltas, states = play(next_version, plays)
    for delta, data, expected in zip(deltas, states, states[1:], strict=False):
        assert follow(data, delta) == expected
        whole = next_version(
            b"", None, upserted=[expected[at:][:76] for at in range(0, len(expected), 76)]
        )
        assert whole.after.header.root == delta.after.header.root


@given(history, st.data())
def test_composed_delta_leads_where_its_parts_lead(next_version, plays, data):
    deltas, states = play(next_version, plays)
    first = data.draw(st.integers(0, len(deltas) - 1))
    last = data.draw(st.integers(first + 1, len(deltas)))
    joined = compose(deltas[first:last])
    assert Delta.decode(joined.encode()) == joined
    assert follow(states[first], joined) == states[last]
    # Composing composed ones changes nothing.
    middle = data.draw(st.integers(first + 1, last))
    halves = [compose(deltas[first:middle])]
    halves += [compose(deltas[middle:last])] if middle < last else []
    assert compose(halves) == joined


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100])
def test_merge_does_not_depend_on_the_pieces(chunk, monkeypatch, next_version):
    monkeypatch.setattr("protocols.lookup.changes.CHUNK", chunk)
    old = {tag << 64: row(tag << 64) for tag in range(0, 60, 2)}
    before = next_version(b"", None, upserted=old.values()).after
    removed = [tag << 64 for tag in (0, 2, 30, 32, 34, 58)]
    # Runs of new rows at the front, in the middle, behind a removed one and at the end.
    put = [tag << 64 for tag in (1, 3, 4, 5, 31, 33, 59)] + [(40 << 64) + n for n in range(20)]
    put += [(70 << 64) + n for n in range(10)]
    new = {tag: row(tag, 1) for tag in put}
    delta = next_version(by_tag(old), before, tags_of(removed), new.values())
    expected = {tag: kept for tag, kept in old.items() if tag not in removed} | new
    pieces = list(merge(by_tag(old), delta))
    assert b"".join(pieces) == by_tag(expected)
    assert max(map(len, pieces)) <= 2 * chunk * 76
    assert all(pieces)


def test_header_continues_the_one_before(next_version, identity):
    first = next_version(b"", None, upserted=[row(1)], now=100)
    second = next_version(row(1), first.after, upserted=[row(2)], now=200)
    header = verify_header(identity.public_key(), second.after)
    assert (header.version, header.count, header.made_at) == (2, 2, 200)
    assert header.previous == first.after.header.digest
    assert first.after.header.previous == bytes(32)
    assert second.is_step
    assert not compose([first, second]).is_step


def test_order_in_which_changes_are_given_does_not_matter(next_version):
    rows = [row(tag) for tag in range(10)]
    assert next_version(b"", None, upserted=rows) == next_version(b"", None, upserted=rows[::-1])


def test_nonce_of_the_version_before_is_refused(next_version):
    first = next_version(b"", None, upserted=[row(1), row(2)])
    data = row(1) + row(2)
    again = row(2)[:28] + row(2, 1)[28:]
    with pytest.raises(UnsupportedParameterError, match="1 records use the nonce"):
        next_version(data, first.after, upserted=[again])
    # A contributor that leaves out its own check is refused by whoever merges.
    honest = next_version(data, first.after, upserted=[row(2, 1)])
    with pytest.raises(InvalidProofError, match="1 records use the nonce"):
        merge(data, dataclasses.replace(honest, upserted=again))
    # The very same record again gives nothing away.
    assert follow(data, next_version(data, first.after, upserted=[row(2)])) == data


def test_step_must_find_what_it_removes(next_version):
    first = next_version(b"", None, upserted=[row(1), row(2)])
    data = row(1) + row(2)
    with pytest.raises(UnsupportedParameterError, match="removes 1 tags"):
        next_version(data, first.after, removed=tags_of([1, 3]))
    honest = next_version(data, first.after, removed=tags_of([1]))
    with pytest.raises(InvalidProofError, match="removes 1 tags"):
        merge(data, dataclasses.replace(honest, removed=tags_of([3])[0]))


def test_delta_for_another_table_is_refused(next_version):
    first = next_version(b"", None, upserted=[row(1), row(2)])
    delta = next_version(row(1) + row(2), first.after, upserted=[row(2, 1)])
    with pytest.raises(MalformedMessageError, match="applies to 2 records, the table has 1"):
        merge(row(1), delta)
    # As many records, but not those: the number that results is not the signed one.
    with pytest.raises(InvalidProofError, match="gives 3 records, signed are 2"):
        merge(row(1) + row(3), delta)
    # And if that fits too, the root does not.
    with pytest.raises(InvalidProofError, match="root"):
        follow(row(1, 7) + row(2), delta)


def test_all_is_checked_before_the_first_piece(next_version):
    first = next_version(b"", None, upserted=[row(1)])
    with pytest.raises(MalformedMessageError):
        merge(row(1), first)  # not iterated


def test_table_is_made_on_top_of_the_signed_one_only(next_version):
    first = next_version(b"", None, upserted=[row(1), row(2)])
    with pytest.raises(InvalidProofError, match="root"):
        next_version(row(1) + row(2, 1), first.after, upserted=[row(3)])
    with pytest.raises(MalformedMessageError):
        next_version(row(1), first.after, upserted=[row(3)])
    with pytest.raises(UnsupportedParameterError, match="without a header"):
        next_version(row(1), None, upserted=[row(3)])


def test_senseless_changes_are_refused(next_version):
    for removed, upserted, error in (
        ([], [row(1), row(1, 1)], UnsupportedParameterError),
        ([], [row(1)[:-1]], MalformedMessageError),
        ([], [row(1)[:-1], row(2) + b"\0"], MalformedMessageError),
        ([bytes(15), bytes(17)], [], MalformedMessageError),
        (tags_of([1]), [], UnsupportedParameterError),
    ):
        with pytest.raises(error):
            next_version(b"", None, removed, upserted)
    first = next_version(b"", None, upserted=[row(1)])
    with pytest.raises(MalformedMessageError, match="same tag"):
        next_version(row(1), first.after, tags_of([1]), [row(1, 1)])


def test_deltas_with_a_gap_are_not_composed(next_version):
    deltas, _ = play(next_version, [(set(), {1}), (set(), {2}), (set(), {3})])
    for wrong in ([deltas[0], deltas[2]], deltas[::-1], [deltas[0], deltas[0]]):
        with pytest.raises(InvalidProofError, match="does not begin where"):
            compose(wrong)
    with pytest.raises(UnsupportedParameterError):
        compose([])


@pytest.fixture(scope="module")
def delta(next_version):
    first = next_version(b"", None, upserted=[row(1), row(2), row(5)])
    data = row(1) + row(2) + row(5)
    return next_version(data, first.after, tags_of([1, 2]), [row(3), row(5, 1)])


def test_delta_survives_the_wire(delta):
    assert Delta.decode(delta.encode()) == delta


def test_cut_or_longer_delta_is_refused(delta):
    data = delta.encode()
    for size in range(len(data)):
        with pytest.raises(MalformedMessageError):
            Delta.decode(data[:size])
    with pytest.raises(MalformedMessageError):
        Delta.decode(data + b"\0")


@given(st.data())
def test_any_bytes_are_a_delta_or_malformed(delta, data):
    good = delta.encode()
    at = data.draw(st.integers(0, len(good)))
    rest = good[data.draw(st.integers(0, len(good))) :]
    mixed = good[:at] + data.draw(st.binary(max_size=8)) + rest
    for given_bytes in (mixed, data.draw(st.binary(max_size=300))):
        try:
            found = Delta.decode(given_bytes)
        except MalformedMessageError:
            continue
        assert found.encode() == given_bytes


def test_senseless_delta_is_refused(delta, identity):
    def resigned(**change):
        header = dataclasses.replace(delta.after.header, **change)
        return {"after": sign_header(identity, header)}

    for change in (
        {"removed": b"".join(tags_of([2, 1]))},
        {"removed": b"".join(tags_of([1, 1]))},
        {"removed": b"".join(tags_of([1, 2, 3]))},
        {"removed": bytes(17)},
        {"upserted": row(5) + row(3)},
        {"upserted": row(3)[:-1]},
        {"upserted": b"".join(map(row, range(3, 9)))},
        {"before": None},
        {"before": delta.after},
        resigned(epoch=6),
        resigned(hub="hub2"),
        resigned(number=3),
        resigned(contributor="bank"),
        resigned(previous=b"x" * 32),
        resigned(count=6),
        resigned(count=1),
        resigned(version=1, previous=bytes(32)),
    ):
        with pytest.raises(MalformedMessageError):
            dataclasses.replace(delta, **change)


def test_whole_table_is_a_delta_too(delta):
    whole = Delta(None, delta.after, b"", row(3) + row(5, 1))
    assert Delta.decode(whole.encode()) == whole
    assert follow(b"", whole) == row(3) + row(5, 1)


def test_contents_do_not_print(delta):
    assert len(repr(delta)) < 1500
    assert "upserted" not in repr(delta)


def many(count, seed):
    """Sorted noise of so many records, joined, made at once."""
    rows = np.random.default_rng(seed).integers(0, 256, (count, 76), dtype=np.uint8)
    rows[:, :4] = np.arange(count, dtype=">u4").view(np.uint8).reshape(-1, 4)
    return rows


def test_memory_of_a_merge_does_not_grow_with_the_table():
    rows = many(400_000, 1)
    data = rows.tobytes()
    changed = rows[::200].copy()
    changed[:, 16:] ^= 0x55
    tracemalloc.start()
    changes = plan_changes(data, b"", changed.tobytes())
    size = sum(map(len, changes.merged()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == len(data) == 30_400_000
    assert peak < 20_000_000


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0, 1, 65_535, 65_536, 65_537, 140_000]))
def test_large_merge_agrees_with_a_dictionary(seed, count):
    rows = many(count, 3)
    data = rows.tobytes()
    source = np.random.default_rng(seed)
    touched = source.permutation(count)[: count // 50]
    gone, put = np.sort(touched[::2]), rows[np.sort(touched[1::2])].copy()
    put[:, 16:] ^= 0x55
    fresh = rows[source.permutation(count)[: count // 100]].copy()
    fresh[:, 15] += 1
    expected = {bytes(one[:16]): bytes(one) for one in rows}
    for at in gone:
        del expected[bytes(rows[at, :16])]
    for one in (*put, *fresh):
        expected[bytes(one[:16])] = bytes(one)
    news = {bytes(one[:16]): bytes(one) for one in (*put, *fresh)}
    removed = b"".join(bytes(rows[at, :16]) for at in gone if bytes(rows[at, :16]) not in news)
    changes = plan_changes(data, removed, by_tag(news))
    assert changes.missing == 0
    assert b"".join(changes.merged()) == by_tag(expected)
    assert changes.count == len(expected)
