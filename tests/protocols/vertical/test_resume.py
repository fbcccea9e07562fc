"""A training that was broken off goes on from the last step that all parties hold."""

import contextlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import (
    MalformedMessageError,
    OutOfTurnError,
    UnsupportedParameterError,
)
from protocols.program import Charge, Checkpoint, Program, Send, run_together
from protocols.vertical.head import Base, train
from protocols.vertical.resume import common_step
from protocols.vertical.settings import Schedule
from protocols.vertical.shares import Trio

NAMES = ("insurer", "telecom", "police")
DIGEST = bytes(range(32))
WIDTHS = {"insurer": 3, "police": 2}  # the telecom only computes


def silent(_, size):
    return torch.zeros(size, dtype=torch.int64)


def agreed(play, held) -> int:
    steps = play(lambda trio: common_step(trio, DIGEST, held[NAMES.index(trio.name(0))]))
    assert len(set(steps.values())) == 1
    return steps["insurer"]


def whole_agreement(trio: Trio) -> Program[int]:
    yield from trio.connect()
    return (yield from common_step(trio, DIGEST, [1, 2]))


@pytest.mark.parametrize(
    ("held", "step"),
    [
        (((), (), ()), 0),
        (((1,), (), (1,)), 0),
        (((1,), (1,), (1,)), 1),
        (((4, 5), (5, 6), (5, 6)), 5),
        (((4, 5), (4, 5), (3, 4)), 4),
        (((1, 2, 3, 4), (4, 5), (3, 4)), 4),
        (((7, 8), (8, 9), (3, 4)), 0),
        (((0, 1), (0, 1), (0,)), 0),
    ],
)
def test_common_step_is_the_largest_that_all_hold(play, held, step):
    assert agreed(play, held) == step


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"\1",
        b"\0\0",
        b"\1\0\0\0\0",
        b"\2\0\0\0\2\0\0\0\1",
        b"\2\0\0\0\2\0\0\0\2",
        b"\3\0\0\0\1\0\0\0\2\0\0\0\3",
        b"\1\0\0\0\1\0",
    ],
)
def test_malformed_steps_are_refused(trios, altered, told):
    programs = {name: whole_agreement(trio) for name, trio in trios(0).items()}
    programs["police"] = altered(programs["police"], 1, lambda _: b"\0\0\0\x20" + DIGEST + told)
    with pytest.raises(MalformedMessageError, match="steps held"):
        run_together(programs)


def test_digest_alone_is_malformed(trios, altered):
    programs = {
        name: altered(whole_agreement(trio), 1, lambda data: data[:30])
        for name, trio in trios(0).items()
    }
    with pytest.raises(MalformedMessageError, match="steps held"):
        run_together(programs)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 21},
        {"steps": 4},
        {"degree": 1},
        {"label_holder": "police"},
        {"schedule": Schedule(2.0, 0.5, 0.25)},
        {"base": Base(20, 0.3, 0.2)},
    ],
)
def test_other_terms_are_found_out_before_anything_is_shared(case, trios, change):
    # Another rate of the label holder's counts, say, would make other coefficients.
    made = case(widths=WIDTHS)
    sent = []

    def watch(name, request):
        if isinstance(request, Send):
            sent.append(len(request.payload))

    programs = {}
    for name, trio in trios(0).items():
        terms = replace(made.terms, **change) if name == "telecom" else made.terms
        inputs = made.inputs[name]
        programs[name] = train(trio=trio, terms=terms, inputs=inputs, noise=silent)
        if name == "telecom":
            inputs.labels = inputs.mask = None
    with pytest.raises(UnsupportedParameterError, match=r"terms: those of \w+ differ; end the run"):
        run_together(programs, watch)
    assert max(sent) < 50


def test_noise_multiplier_may_differ_in_the_last_bit(case):
    # It comes from transcendental functions, which machines round differently.
    terms = case().terms
    assert replace(terms, noise_multiplier=1.0000000000000002).digest == terms.digest


def kept_of(case, trained) -> dict[str, dict[int, bytes]]:
    """Train without a break and keep every checkpoint."""
    kept = {name: {} for name in NAMES}

    def watch(name, request):
        if isinstance(request, Checkpoint):
            kept[name][request.step] = request.state

    trained(case, watch=watch)
    return kept


def assert_alike(heads, others):
    # Truncation rounds each of 20 residuals by one unit of 2^-24 under new masks.
    for name in NAMES:
        if name in WIDTHS:
            assert torch.allclose(heads[name].weights, others[name].weights, rtol=0, atol=1e-5)
        else:
            assert heads[name].weights is None
            assert others[name].weights is None


@pytest.mark.parametrize("start", range(6))
def test_resumed_training_ends_where_the_whole_one_does(case, trained, start):
    made = case(4, widths=WIDTHS, steps=5)
    kept = kept_of(made, trained)
    whole = trained(made)
    # The police had finished one step more than the others.
    resume = {name: {s: kept[name][s] for s in (start - 1, start) if s > 0} for name in NAMES}
    if 0 < start < 5:
        resume["police"] = {s: kept["police"][s] for s in (start, start + 1)}
    charges = []

    def watch(name, request):
        if isinstance(request, Charge):
            charges.append((name, request.label))

    assert_alike(whole, trained(made, seed=99, resume=resume, watch=watch))
    for name in NAMES:
        labels = [label for party, label in charges if party == name]
        assert labels == [f"train/step/{step}" for step in range(start, 5)]


def broken_off(program: Program, after: int) -> Program:
    """Perform so many requests and die."""
    answer = None
    for _ in range(after):
        try:
            request = program.send(answer)
        except StopIteration as stop:
            return stop.value
        answer = yield request
    return None


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(NAMES), st.integers(0, 220))
def test_last_two_checkpoints_suffice_after_any_crash(case, trained, trios, name, after):
    made = case(5, widths=WIDTHS, steps=4)
    kept = {party: {} for party in NAMES}

    def watch(party, request):
        if isinstance(request, Checkpoint):
            kept[party][request.step] = request.state
            kept[party].pop(request.step - 2, None)

    programs = {
        party: train(trio=trio, terms=made.terms, inputs=made.inputs[party], noise=silent)
        for party, trio in trios(0).items()
    }
    programs[name] = broken_off(programs[name], after)
    # The others may wait for a party that is gone.
    with contextlib.suppress(OutOfTurnError):
        run_together(programs, watch)
    latest = [max(states, default=0) for states in kept.values()]
    assert max(latest) - min(latest) <= 1
    resumed = []

    def watch_again(party, request):
        if isinstance(request, Charge):
            resumed.append(int(request.label.rsplit("/", 1)[1]))

    assert_alike(trained(made), trained(made, seed=3, resume=kept, watch=watch_again))
    assert min(resumed, default=4) == min(latest)


def test_checkpoint_of_another_step_is_refused(case, trained):
    made = case(4, widths=WIDTHS)
    kept = kept_of(made, trained)
    resume = {name: {2: kept[name][2]} for name in NAMES}
    resume["police"] = {2: kept["police"][1]}
    with pytest.raises(MalformedMessageError, match="of step 1, expected 2"):
        trained(made, resume=resume)


def test_no_message_is_left_unread(case, trained):
    # A message that nobody reads would be taken for the next one of that sender.
    sent, read = {}, {}

    def watch(name, request):
        match type(request).__name__:
            case "Send":
                sent[name, request.to] = sent.get((name, request.to), 0) + 1
            case "Receive":
                read[request.sender, name] = read.get((request.sender, name), 0) + 1

    trained(case(widths=WIDTHS), watch=watch)
    assert sent == read


def test_machine_that_rounds_coefficients_otherwise_is_found_out(case, monkeypatch):
    terms = case(degree=1, base=Base(20, 0.3, 0.2)).terms
    before = terms.digest
    monkeypatch.setattr("protocols.vertical.response.COEFFICIENT_BITS", 15)
    assert terms.digest != before
