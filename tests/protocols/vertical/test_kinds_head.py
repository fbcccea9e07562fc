"""Several members of a block, and owners that do not compute: equal to one clear table.

The reference is the float64 training over the rows that count: of a person whom several
members know, the first one's.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dp.events import Gaussian
from protocols.errors import UnsupportedParameterError
from protocols.program import Charge, Send, run_together
from protocols.vertical import combining
from protocols.vertical.combining import combine, share_gates
from protocols.vertical.contributing import contribute, contribute_logits
from protocols.vertical.descent import Descent
from protocols.vertical.head import Base, Block, Inputs, Terms, joint_logits, train
from protocols.vertical.outsider import Outsider
from protocols.vertical.settings import Schedule
from protocols.vertical.shares import Trio

INSURERS = ("insurer-a", "insurer-b")
LINES = ("line-a", "line-b", "line-c")
EVERYONE = (*INSURERS, *LINES, "police", "bank")
PLAIN = Schedule(1.0, 0.0, 0.0)
COMPUTE = [
    ("insurer-a", "line-a", "police"),
    ("police", "line-c", "hub"),
    ("hub", "police", "bank"),
    ("insurer-b", "hub", "line-b"),
]
ROWS, NORM = 24, 0.57


@dataclass
class World:
    """The terms, everyone's inputs, and what they amount to in the clear."""

    terms: Terms
    inputs: dict[str, Inputs]
    tables: dict[str, torch.Tensor]
    mask: torch.Tensor
    labels: torch.Tensor


def first_of(parts, present):
    """Return of every row what the first member has who knows the person."""
    result = torch.zeros_like(parts[0])
    free = torch.ones(ROWS, dtype=torch.bool)
    for part, bits in zip(parts, present, strict=True):
        here = free & (bits == 1)
        result[..., here] = part[..., here]
        free &= bits == 0
    return result


def make_world(seed=0, *, degree=1, steps=3, schedule=PLAIN, base=True, noise=1.0) -> World:
    source = np.random.default_rng(seed)
    inputs = {name: Inputs() for name in (*EVERYONE, "hub")}
    tables = {}
    blocks = (
        Block("lines", 3, NORM, 1.0, LINES),
        Block("police", 2, NORM, 1.0),
        Block("bank", 2, NORM, 1.0),
    )
    for block in blocks:
        parts, bits = [], []
        for name in block.holders:
            there = torch.from_numpy(source.random(ROWS) < 0.6)
            table = torch.from_numpy(source.standard_normal((block.width, ROWS)))
            table *= block.norm / table.norm(dim=0)
            table = table.to(torch.float32).to(torch.float64) * (1 - 1e-6)
            table[:, ~there] = 0
            inputs[name].features = table
            inputs[name].present = there.to(torch.float64)
            parts.append(table)
            bits.append(there.to(torch.int64))
        tables[block.owner] = first_of(parts, bits)
    masks, labels, bits = [], [], []
    for name in INSURERS:
        there = torch.from_numpy(source.random(ROWS) < 0.7).to(torch.int64)
        mask = there * torch.from_numpy((source.random(ROWS) < 0.8).astype(np.int64))
        label = torch.from_numpy(source.integers(0, 2, ROWS))
        inputs[name].present, inputs[name].mask, inputs[name].labels = there, mask, label
        bits.append(there)
        masks.append(mask)
        labels.append(label * mask)
    terms = Terms(
        rows=ROWS,
        blocks=blocks,
        label_holder="insurer-a",
        steps=steps,
        noise_multiplier=noise,
        degree=degree,
        schedule=schedule,
        base=Base(15, 0.3, 0.6) if base else None,
        label_members=INSURERS,
    )
    return World(terms, inputs, tables, first_of(masks, bits), first_of(labels, bits))


def silent(_, size):
    return torch.zeros(size, dtype=torch.int64)


def stations(compute, seed):
    """Return everyone's side: a trio or an outsider."""
    source = np.random.default_rng(seed)
    outside = tuple(name for name in EVERYONE if name not in compute)
    made = {}
    for name in (*EVERYONE, "hub"):
        if name in compute:
            made[name] = Trio(names=compute, ours=name, random=source.bytes, outsiders=outside)
        elif name != "hub":
            made[name] = Outsider(names=compute, ours=name, random=source.bytes)
    return made


def train_world(world, compute, *, seed=0, noise=silent, watch=None):
    programs = {}
    for name, station in stations(compute, seed).items():
        inputs = world.inputs[name]
        if isinstance(station, Trio):
            draw = noise[name] if isinstance(noise, dict) else noise
            programs[name] = train(trio=station, terms=world.terms, inputs=inputs, noise=draw)
        else:
            programs[name] = contribute(outsider=station, terms=world.terms, inputs=inputs)
    return run_together(programs, watch)


def in_the_clear(world):
    terms = world.terms
    descents = {b.owner: Descent(terms.schedule, b.width, terms.steps) for b in terms.blocks}
    for _ in range(terms.steps):
        logit = torch.zeros(ROWS, dtype=torch.float64)
        for block in terms.blocks:
            own = descents[block.owner].weights @ world.tables[block.owner]
            logit += own.clamp(*terms.clip(block))
        residual = world.mask * terms.response.real(logit) - world.labels
        for owner, descent in descents.items():
            descent.apply(world.tables[owner] @ residual / terms.averaged_rows)
    return {owner: descent.result() for owner, descent in descents.items()}


@pytest.mark.parametrize("compute", COMPUTE)
@pytest.mark.parametrize(("degree", "base"), [(1, True), (3, False)])
def test_members_train_as_one_table_in_the_clear(compute, degree, base):
    world = make_world(len(compute[0]), degree=degree, base=base, schedule=Schedule(2.0, 0.5, 0.3))
    heads = train_world(world, compute)
    expected = in_the_clear(world)
    for block in world.terms.blocks:
        assert float(expected[block.owner].norm()) > 0.02
        for name in block.holders:
            distance = (heads[name].weights - expected[block.owner]).abs().max()
            assert float(distance) < 5e-3 * float(expected[block.owner].norm())
    # Members of one block hold the same weights to the last bit.
    kept = [heads[name].weights for name in LINES]
    assert all(torch.equal(kept[0], other) for other in kept[1:])
    assert all(heads[name].weights is None for name in INSURERS)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from(COMPUTE))
def test_any_overlap_trains_as_in_the_clear(seed, compute):
    world = make_world(seed, steps=2)
    heads, expected = train_world(world, compute, seed=seed), in_the_clear(world)
    for block in world.terms.blocks:
        for name in block.holders:
            assert float((heads[name].weights - expected[block.owner]).abs().max()) < 1e-3


def combined_table(world, compute):
    """Return the joint rows of the lines, put together from all three parties' summands."""
    holders, shape = LINES, (3, ROWS)
    scale = 2.0**world.terms.feature_bits

    def words(name):
        return torch.trunc(world.inputs[name].features * scale).to(torch.int64)

    def computing(trio):
        yield from trio.connect()
        ours = trio.name(0)
        present = world.inputs[ours].present
        bits = None if present is None or ours not in LINES else present.to(torch.int64)
        gates = yield from share_gates(trio, (holders,), bits, ROWS)
        parts = []
        for holder in holders:
            own = words(ours) if holder == ours else None
            parts.append((yield from trio.share(holder, own, shape)))
        return (yield from combine(trio, holders, gates, parts, shape))

    def bringing(outsider):
        yield from outsider.connect()
        if outsider.ours in holders[:-1]:
            yield from outsider.share(world.inputs[outsider.ours].present.to(torch.int64))
        if outsider.ours in holders:
            yield from outsider.share(words(outsider.ours))

    made = stations(compute, 3)
    ended = run_together(
        {n: computing(s) if isinstance(s, Trio) else bringing(s) for n, s in made.items()}
    )
    shared = [ended[name] for name in compute]
    for index, one in enumerate(shared):
        assert torch.equal(one.second, shared[(index + 1) % 3].first)
    return sum(one.first for one in shared).to(torch.float64) / scale


@pytest.mark.parametrize("compute", COMPUTE)
def test_combined_rows_are_the_first_members(compute):
    world = make_world(5)
    table = combined_table(world, compute)
    assert torch.allclose(table, world.tables["lines"], atol=2.0**-15)
    known = sum(world.inputs[name].present for name in LINES)
    assert int((known > 1).sum()) > 5
    assert float(table.norm(dim=0).max()) <= NORM


def test_norm_bound_breaks_without_the_gates(monkeypatch):
    # The test above is worth something: rows of several members do add up beyond the norm.
    world = make_world(5)
    honest = combining._others

    def ungated(holders, gates, parts, shape):
        total = honest(holders, gates, parts, shape) * 0
        for part in parts[1:]:
            total += torch.zeros(shape, dtype=torch.int64) if part.first is None else part.first
        return total

    monkeypatch.setattr(combining, "_others", ungated)
    table = combined_table(world, COMPUTE[0])
    assert float(table.norm(dim=0).max()) > 1.2 * NORM


def recording(log):
    def draw(variance, size):
        log.append((variance, size))
        return torch.zeros(size, dtype=torch.int64)

    return draw


@pytest.mark.parametrize("compute", COMPUTE)
def test_two_halves_of_noise_are_unknown_to_every_coalition(compute):
    world = make_world(1, steps=2, noise=3.3)
    logs = {name: [] for name in compute}
    train_world(world, compute, noise={name: recording(log) for name, log in logs.items()})
    wanted = Fraction(3.3) ** 2 * world.terms.sensitivity**2
    for at, block in enumerate(world.terms.blocks):
        alone = len(block.holders) == 1 and block.owner in compute
        adding = [name for name in compute if not alone or name != block.owner]
        for step in range(2):
            for name in adding:
                before = [b for b in world.terms.blocks[:at] if b.holders != (name,)]
                per_step = sum(b.holders != (name,) for b in world.terms.blocks)
                variance, size = logs[name][step * per_step + len(before)]
                assert size == block.width
                assert wanted <= 2 * variance <= wanted * (1 + Fraction(1, 10**9))
        # Whoever opens it, with one compute party of its choice, misses two of the noises.
        for insider in compute:
            if set(block.holders) & set(compute) <= {insider}:
                assert len(set(adding) - {insider}) >= 2
    assert {name: len(log) for name, log in logs.items()} == {
        name: 2 * sum(block.holders != (name,) for block in world.terms.blocks) for name in compute
    }


def test_every_owner_pays_each_step_once_and_before_it_sends():
    world = make_world(2, steps=3)
    log = {name: [] for name in (*EVERYONE, "hub")}
    train_world(world, COMPUTE[1], watch=lambda name, request: log[name].append(request))
    charges = [Charge(f"train/step/{step}", Gaussian(1.0)) for step in range(3)]
    for name in EVERYONE:
        assert [item for item in log[name] if isinstance(item, Charge)] == charges
    # An outsider's logits of a step are the last that it sends before the next charge.
    kinds = [type(item) for item in log["line-a"] if isinstance(item, Charge | Send)]
    assert kinds[-9:] == [Charge, Send, Send] * 3
    # Labels alone: all is paid before the first words leave, after seeds and terms.
    kinds = [type(item) for item in log["insurer-a"] if isinstance(item, Charge | Send)]
    assert kinds[:9] == [Send] * 6 + [Charge] * 3


@pytest.mark.parametrize("compute", COMPUTE)
def test_scores_are_opened_to_each_insurer_of_its_own_rows(compute):
    world = make_world(4)
    source = np.random.default_rng(9)
    weights = {
        b.owner: torch.from_numpy(source.standard_normal(b.width)) for b in world.terms.blocks
    }
    owner_of = {name: b.owner for b in world.terms.blocks for name in b.holders}
    programs = {}
    for name, station in stations(compute, 8).items():
        own = present = mask = None
        if name in owner_of:
            own = weights[owner_of[name]] @ world.inputs[name].features
        if name in LINES:
            present = world.inputs[name].present
        if name in INSURERS:
            mask = world.inputs[name].present
        side = {"trio": station} if isinstance(station, Trio) else {"outsider": station}
        program = joint_logits if isinstance(station, Trio) else contribute_logits
        programs[name] = program(
            **side, terms=world.terms, own=own, mask=mask, resolution_bits=12, present=present
        )
    opened = run_together(programs)
    logit = sum(weights[owner] @ table for owner, table in world.tables.items())
    for name in (*EVERYONE, "hub"):
        if name not in INSURERS:
            assert opened.get(name) is None
            continue
        wanted = world.inputs[name].present * logit
        assert torch.allclose(opened[name], wanted, atol=1e-3)
        assert int((opened[name] != 0).sum()) > 5


def test_outsiders_get_terms_and_openings_and_no_other_byte():
    world = make_world(6, steps=4)
    got = {name: [] for name in (*EVERYONE, "hub")}

    def watch(name, request):
        if isinstance(request, Send):
            got[request.to].append((name, len(request.payload)))

    train_world(world, COMPUTE[1], watch=watch)
    digest = 4 + 32 + 1
    for name in ("line-a", "line-b", "bank"):
        width = next(b.width for b in world.terms.blocks if name in b.holders)
        sizes = sorted(size for _, size in got[name])
        assert sizes == sorted([digest] * 3 + [8 * width] * 3 * world.terms.steps)
        assert {sender for sender, _ in got[name]} == set(COMPUTE[1])
    for name in INSURERS:
        assert got[name] == [(sender, digest) for sender, _ in got[name]]
        assert len(got[name]) == 3


def test_compute_party_sees_uniform_words_of_an_outsider():
    # Inputs of zeros: any structure that came through would be all there is.
    outside = Outsider(names=COMPUTE[0], ours="bank", random=np.random.default_rng(3).bytes)
    got = dict.fromkeys(COMPUTE[0], b"")

    def sharing():
        yield from outside.connect()
        for _ in range(40):
            yield from outside.share(torch.zeros(250, dtype=torch.int64))

    for request in sharing():
        got[request.to] += request.payload
    assert {name: len(data) for name, data in got.items()} == {
        "insurer-a": 64, "line-a": 32 + 80_000, "police": 32 + 80_000,
    }  # fmt: skip
    assert got["insurer-a"][32:] == got["line-a"][:32]
    assert got["insurer-a"][:32] == got["police"][:32]
    words = np.frombuffer(got["line-a"][32:], dtype="<u8")
    assert len(np.unique(words)) == len(words)
    bits = np.unpackbits(words.view(np.uint8)).mean()
    assert abs(bits - 0.5) < 5 * 0.5 / (64 * len(words)) ** 0.5


@pytest.mark.parametrize("change", ["row", "mask", "bit"])
def test_rows_of_nobody_are_refused_before_anything_is_sent(change):
    world = make_world(3)
    gone = int(torch.nonzero(world.inputs["line-b"].present == 0)[0])
    if change == "row":
        world.inputs["line-b"].features[0, gone] = 0.1
    elif change == "mask":
        gone = int(torch.nonzero(world.inputs["insurer-b"].present == 0)[0])
        world.inputs["insurer-b"].mask[gone] = 1
    else:
        world.inputs["line-b"].present[gone] = 2
    sent = []
    with pytest.raises(UnsupportedParameterError, match=r"not present|present: must be 0 or 1"):
        train_world(world, COMPUTE[0], watch=lambda name, _: sent.append(name))
    assert set(sent) & ({"insurer-b"} if change == "mask" else {"line-b"}) == set()


def test_outsider_with_other_terms_ends_the_run():
    world = make_world(3)
    other = replace(world.terms, steps=7)
    programs = {}
    for name, station in stations(COMPUTE[1], 0).items():
        terms = other if name == "line-a" else world.terms
        if isinstance(station, Trio):
            programs[name] = train(
                trio=station, terms=terms, inputs=world.inputs[name], noise=silent
            )
        else:
            programs[name] = contribute(outsider=station, terms=terms, inputs=world.inputs[name])
    with pytest.raises(UnsupportedParameterError, match="terms: those of"):
        run_together(programs)
