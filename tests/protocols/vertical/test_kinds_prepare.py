"""Sums over the members of a block: exact but for their noise, the same for all, paid by each."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from protocols.dp.discrete import sample_discrete_gaussian
from protocols.dp.events import Gaussian
from protocols.errors import UnsupportedParameterError
from protocols.program import Charge, Send, drive, run_together
from protocols.vertical.budget import noise_multiplier_of_share
from protocols.vertical.contract import Category, Contract, Numeric
from protocols.vertical.edges import FINE_BINS, histogram
from protocols.vertical.encoding import Encoder, fit_encoder
from protocols.vertical.plan import Partner, TrainingPlan
from protocols.vertical.pool import Outcome
from protocols.vertical.settings import EncoderTerms, Schedule
from protocols.vertical.together import Bringing, prepare_together, station_of

CONTRACT = Contract(
    (
        Numeric("calls", 0.0, 1000.0, missing=True),
        Category("tariff", ("basic", "plus", "max"), missing=True),
        Numeric("months", 0.0, 60.0),
    )
)
NAMES = tuple(column.name for column in CONTRACT.columns)
LINES, INSURERS = ("line-a", "line-b"), ("insurer-a", "insurer-b", "insurer-c")
ENCODER = EncoderTerms(knots=8, edge_share=0.2, mean_share=0.2)
JOINT_ROWS = 64


def partner(name, number, **what):
    resting = {"columns": (), "norm": 0.0, "encoder": EncoderTerms(), "block": ""}
    return Partner(name=name, identity=f"{number:02x}" * 32, **(resting | what))


def make_plan(compute=("insurer-a", "line-a", "police"), **changes):
    lines = {"columns": NAMES, "norm": 0.7, "encoder": ENCODER, "block": "lines"}
    return TrainingPlan(
        **{
            "run": "run", "purpose": "purpose", "label_holder": "insurer-a", "compute": compute,
            "partners": (
                *(partner(name, at, block="insurers") for at, name in enumerate(INSURERS)),
                *(partner(name, at, **lines) for at, name in enumerate(LINES, 4)),
                partner("police", 9, columns=("reports",), norm=0.7),
            ),
            "epoch": 0, "membership": "hidden", "sample_fraction": 1.0, "held_out_fraction": 0.3,
            "min_rows": 1, "epsilon": 4.0, "delta": 1e-5, "steps": 10, "degree": 1, "reach": 0.2,
            "count_share": 0.1, "schedule": Schedule(8.0, 0.9, 0.5), "resolution_bits": 10,
            "on_refusal": "end", "deadline_s": 600,
        } | changes
    )  # fmt: skip


def table(seed, rows):
    source = np.random.default_rng(seed)
    calls = source.integers(0, 1001, rows).astype(np.float64)
    calls[source.random(rows) < 0.1] = np.nan
    return {
        "calls": calls,
        "tariff": source.integers(-1, 3, rows),
        "months": source.uniform(0, 60, rows),
    }


def outcome(seed):
    source = np.random.default_rng([seed, 1])
    there, train, label = source.random((3, JOINT_ROWS)) < np.array([[0.6], [0.8], [0.4]])
    return Outcome.of(*(torch.from_numpy(bits) for bits in (there, train, label)))


def silent(_, size):
    return torch.zeros(size, dtype=torch.int64)


TABLES = {"line-a": table(1, 300), "line-b": table(2, 500)}
OUTCOMES = {name: outcome(at) for at, name in enumerate(INSURERS)}


def prepare(plan, *, noise=silent, watch=None, tables=None, columns=None):
    source = np.random.default_rng(5)
    programs = {}
    for name in dict.fromkeys((*plan.names, *plan.compute)):
        own = (tables or TABLES).get(name)

        def fit(pool, name=name, own=own):
            return fit_encoder(plan, name, CONTRACT, own, source.bytes, pool=pool)

        programs[name] = prepare_together(
            plan=plan,
            ours=name,
            rows=JOINT_ROWS,
            station=station_of(plan, name, source.bytes),
            noise=noise[name] if isinstance(noise, dict) else noise,
            bringing=Bringing(
                (columns or {}).get(name, bytes(32)),
                None if own is None else fit,
                OUTCOMES.get(name),
            ),
        )
    return run_together(programs, watch)


COMPUTE = [
    ("insurer-a", "line-a", "police"),
    ("hub", "police", "insurer-c"),
    ("line-b", "hub", "insurer-b"),
]


@pytest.mark.parametrize("compute", COMPUTE)
def test_members_get_one_encoder_that_is_the_joint_tables(compute):
    plan = make_plan(compute)
    ended = prepare(plan)
    first, second = (ended[name][0] for name in LINES)
    assert first.store() == second.store()
    # Nearly no noise, and one owner that has all the rows: the same knots and means.
    both = {name: np.concatenate([TABLES[line][name] for line in LINES]) for name in NAMES}
    rich = replace(plan, epsilon=64.0, delta=1e-3)
    alone = drive(
        fit_encoder(rich, "line-a", CONTRACT, both, np.random.default_rng(0).bytes), lambda _: None
    )
    exact = prepare(rich)["line-a"][0]
    assert np.abs(exact.means - alone.means).max() < 0.1
    assert isinstance(exact, Encoder)
    assert all(ended[name][0] is None for name in ended if name not in LINES)


def exact_counts():
    free, found = np.ones(JOINT_ROWS, dtype=bool), np.zeros(2, dtype=int)
    for name in INSURERS:
        own = OUTCOMES[name]
        here = free & (own.present.numpy() == 1)
        found += [int(own.mask.numpy()[here].sum()), int(own.labels.numpy()[here].sum())]
        free &= own.present.numpy() == 0
    return found.tolist()


@pytest.mark.parametrize("compute", COMPUTE)
def test_person_of_several_insurers_is_counted_once(compute):
    ended = prepare(make_plan(compute))
    trained, positives = exact_counts()
    several = sum(OUTCOMES[name].present for name in INSURERS)
    assert int((several > 1).sum()) > 10
    for name in INSURERS:
        counts = ended[name][1]
        assert (counts.trained, counts.positives) == (trained, positives)
    assert all(ended[name][1] is None for name in ended if name not in INSURERS)


def recording(log):
    def draw(variance, size):
        log.append((variance, size))
        return torch.zeros(size, dtype=torch.int64)

    return draw


@pytest.mark.parametrize("compute", COMPUTE)
def test_each_of_three_adds_half_of_what_two_members_may_move(compute):
    plan = make_plan(compute)
    logs = {name: [] for name in compute}
    noise = {
        name: recording(logs[name]) if name in logs else silent for name in (*plan.names, *compute)
    }
    ended = prepare(plan, noise=noise)
    edges, means, counts = (
        Fraction(noise_multiplier_of_share(plan, share)) ** 2 for share in (0.2, 0.2, 0.1)
    )
    width = len(ended["line-a"][0].means)
    bins = sum(
        len(histogram(c, TABLES["line-a"][c.name]))
        for c in CONTRACT.columns
        if isinstance(c, Numeric)
    )
    assert bins > FINE_BINS
    # Histograms: two numeric columns, two members: (2 sqrt 2)^2. Rows: (2 sqrt 5/4)^2 in 2^-16.
    wanted = [(8 * edges, bins), (5 * means * 2**32, width + 1), (2 * counts, 2)]
    for log in logs.values():
        assert [size for _, size in log] == [size for _, size in wanted]
        for (variance, _), (whole, _) in zip(log, wanted, strict=True):
            assert whole <= 2 * variance <= whole * (1 + Fraction(1, 10**9)) + 2


def test_two_tables_move_a_sum_by_no_more_than_it_is_noised_for():
    # The same person, at its worst, in both members' tables, against nobody.
    plan = make_plan()
    joined = {}

    def watched(rows):
        heard = []

        def watch(name, request):
            if isinstance(request, Send) and request.to == "line-b" and len(request.payload) > 100:
                heard.append((name, np.frombuffer(request.payload, dtype="<i8")))

        own = {name: values[:rows] for name, values in table(3, 41).items()}
        prepare(plan, watch=watch, tables={"line-a": own, "line-b": own})
        return sum(words for _, words in heard[:3])

    for rows in (40, 41):
        joined[rows] = watched(rows)
    edges = (joined[41] - joined[40]).astype(np.float64)
    assert np.linalg.norm(edges) <= 2 * 2**0.5 + 1e-9
    assert np.linalg.norm(edges) > 2


def test_members_pay_before_their_part_leaves_and_others_nothing():
    plan = make_plan(COMPUTE[1])
    log = {name: [] for name in (*plan.names, "hub")}
    prepare(plan, watch=lambda name, request: log[name].append(request))
    paid = {
        name: [item for item in items if isinstance(item, Charge)] for name, items in log.items()
    }
    edges, means, counts = (
        Gaussian(noise_multiplier_of_share(plan, share)) for share in (0.2, 0.2, 0.1)
    )
    assert paid["hub"] == paid["police"] == []
    for name in LINES:
        assert paid[name] == [
            Charge("pooled/lines/edges", edges),
            Charge("pooled/lines/means", means),
        ]
    for name in INSURERS:
        assert paid[name] == [Charge("pooled/insurers/counts", counts)]
    # Seeds and the hash of the columns go before; not a word of a sum.
    before = log["line-a"][: log["line-a"].index(paid["line-a"][0])]
    assert Counter(len(item.payload) for item in before if isinstance(item, Send)) == {64: 1, 32: 3}


def test_other_contract_under_the_same_names_is_refused():
    with pytest.raises(UnsupportedParameterError, match="has other ranges, levels or kinds"):
        prepare(make_plan(), columns={"line-b": b"\1" * 32})


def test_label_of_nobody_counts_for_nothing():
    bits = Outcome.of(torch.tensor([0, 1, 1]), torch.tensor([1, 1, 0]), torch.tensor([1, 1, 1]))
    assert (bits.mask.tolist(), bits.labels.tolist()) == ([0, 1, 0], [0, 1, 0])
    with pytest.raises(UnsupportedParameterError, match="labels: must be 0 or 1"):
        Outcome.of(torch.ones(1), torch.ones(1), torch.tensor([2]))


def test_noise_of_the_sum_is_one_and_a_half_times_the_variance():
    plan = make_plan()
    samplers = {}
    for at, name in enumerate((*plan.names, "hub")):
        source = np.random.default_rng(at + 40)
        samplers[name] = lambda variance, size, source=source: torch.from_numpy(
            sample_discrete_gaussian(variance, size, random=source.bytes)
        )
    heard = []

    def watch(name, request):
        if isinstance(request, Send) and request.to == "line-b" and len(request.payload) > 2000:
            heard.append(np.frombuffer(request.payload, dtype="<i8"))

    prepare(plan, noise=samplers, watch=watch)
    noised = sum(heard[:3])
    heard.clear()
    prepare(plan, watch=watch)
    noise = (noised - sum(heard[:3])).astype(np.float64)
    wanted = 1.5 * 8 * noise_multiplier_of_share(plan, 0.2) ** 2
    assert abs(noise.var() / wanted - 1) < 5 * (2 / len(noise)) ** 0.5
