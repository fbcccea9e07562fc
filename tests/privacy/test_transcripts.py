"""What each compute party receives in a whole training, word by word.

Secret are the encoded tables, labels and mask of the others, all logits and residuals, and
the gradients of other blocks. Received words must contain none of them, and must look
alike whatever the secrets are. The hub may be a compute party: it sees what one sees.
"""

import math
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest
import torch

from protocols.codec import Reader
from protocols.dp.discrete import sample_discrete_gaussian
from protocols.program import Charge, Checkpoint, Send
from protocols.vertical import head, shares
from protocols.vertical.head import Base, Block, Inputs, Terms, partial_logit, quantize
from protocols.vertical.response import LOGIT_BITS, RESIDUAL_BITS
from protocols.vertical.settings import Schedule

ROWS, STEPS = 24, 3
PARTNERS = ("insurer", "telecom", "police")
WITH_HUB = ("insurer", "hub", "police")
WIDTHS = {"insurer": 3, "telecom": 4, "police": 5}


@dataclass
class Transcript:
    """What one party received: all, and what came before its or anyone's first opening."""

    payloads: list[tuple[str, bytes]]
    before_opening: list[bytes]

    @property
    def words(self) -> np.ndarray:
        """Return all words but those of seeds and of the agreement on terms."""
        data = b"".join(payload for _, payload in self.payloads[3:])
        return np.frombuffer(data, dtype="<i8")


def discrete(seed):
    source = np.random.default_rng(seed)

    def draw(variance, size):
        return torch.from_numpy(sample_discrete_gaussian(variance, size, random=source.bytes))

    return draw


def make_terms(parties, degree):
    owners = [name for name in parties if name in WIDTHS]
    norm = len(owners) ** -0.5
    return Terms(
        rows=ROWS,
        blocks=tuple(Block(name, WIDTHS[name], norm, 2.0) for name in owners),
        label_holder="insurer",
        steps=STEPS,
        noise_multiplier=1.0,
        degree=degree,
        schedule=Schedule(4.0, 0.5, 0.0),
        base=Base(20, 0.3, 0.25) if degree == 1 else None,
    )


def make_inputs(terms, parties, secret):
    inputs = {name: Inputs() for name in parties}
    for place, block in enumerate(terms.blocks):
        source = np.random.default_rng([secret, place])
        table = source.standard_normal((block.width, ROWS))
        inputs[block.owner].features = torch.from_numpy(
            table * block.norm / np.linalg.norm(table, axis=0)
        )
    source = np.random.default_rng([secret, 99])
    inputs[terms.label_holder].labels = torch.from_numpy(source.integers(0, 2, ROWS))
    inputs[terms.label_holder].mask = torch.from_numpy(source.integers(0, 2, ROWS))
    return inputs


def listen(train_all, terms, inputs, seeds):
    """Train; return every party's transcript and every owner's states by step."""
    received = {name: Transcript([], []) for name in inputs}
    states = {name: [] for name in inputs}
    charged = []

    def watch(name, request):
        if isinstance(request, Charge):
            charged.append(name)
        elif isinstance(request, Checkpoint):
            states[name].append(request.state)
        elif isinstance(request, Send):
            received[request.to].payloads.append((name, request.payload))
            # A party pays before its first opening leaves.
            if name not in charged:
                received[request.to].before_opening.append(request.payload)

    noise = {name: discrete(seeds[name] + 1000) for name in inputs}
    train_all(terms, inputs, seeds=seeds, noise=noise, watch=watch)
    return received, states


def vectors_of(state):
    """Return weights and velocity of a checkpoint."""
    reader = Reader(state, "state")
    reader.u8(), reader.u32(), reader.u32()
    return [torch.from_numpy(np.frombuffer(reader.block(), dtype="<f8").copy()) for _ in range(2)]


def secrets_of(terms, inputs, states):
    """Return every word that only its holder may see, as fixed point and in further forms."""
    found = {name: set() for name in inputs}
    tables = {b.owner: quantize(inputs[b.owner].features, b, terms) for b in terms.blocks}
    clear = {name: table.float() / 2**terms.feature_bits for name, table in tables.items()}
    gradients = {}
    for block in terms.blocks:
        name = block.owner
        found[name] |= set(tables[name].flatten().tolist())
        velocity, opened = torch.zeros(block.width, dtype=torch.float64), []
        for state in states[name]:
            _, now = vectors_of(state)
            gradient = now - terms.schedule.momentum * velocity
            opened += (gradient * terms.averaged_rows * 2.0**terms.gradient_bits).round().tolist()
            velocity = now
        gradients[name] = {int(word) for word in opened}
    weights = {b.owner: torch.zeros(b.width, dtype=torch.float64) for b in terms.blocks}
    for step in range(STEPS):
        total = torch.zeros(ROWS, dtype=torch.float64)
        for block in terms.blocks:
            own = partial_logit(clear[block.owner], weights[block.owner], terms.clip(block))
            words = torch.trunc(own.double() * 2**LOGIT_BITS)
            found[block.owner] |= {int(word) for word in words.tolist()}
            total += words
            weights[block.owner], _ = vectors_of(states[block.owner][step])
        outcome = inputs["insurer"]
        real = outcome.mask * (terms.response.real(total / 2**LOGIT_BITS) - outcome.labels)
        residual = (real * 2**RESIDUAL_BITS).floor().to(torch.int64).tolist()
        joint = {int(word) for word in total.tolist()} | set(residual) | {r + 1 for r in residual}
        for name in inputs:
            found[name] |= joint
    found["insurer"] |= {0, 1}
    return found, gradients


CASES = [(PARTNERS, 3), (PARTNERS, 1), (WITH_HUB, 3), (WITH_HUB, 1)]


@pytest.mark.parametrize(("parties", "degree"), CASES)
def test_no_secret_word_is_received(train_all, parties, degree):
    terms = make_terms(parties, degree)
    inputs = make_inputs(terms, parties, secret=1)
    received, states = listen(train_all, terms, inputs, {name: i for i, name in enumerate(parties)})
    found, gradients = secrets_of(terms, inputs, states)
    assert all(len(words) == STEPS * WIDTHS[name] for name, words in gradients.items())
    for name in parties:
        words = received[name].words
        others = set().union(*(found[other] for other in parties if other != name))
        others |= set().union(*(gradients[other] for other in gradients if other != name))
        assert not others & set(words.tolist())
        # Nor is any word small, as fixed-point values are: by chance 2^-17 of them are.
        assert (np.abs(words) < 2**46).sum() <= 3
        # Nor do the bytes hold a column in the form in which its owner keeps it.
        data = b"".join(payload for _, payload in received[name].payloads)
        for other, own in inputs.items():
            if other != name and own.features is not None:
                for kind in (torch.float32, torch.float64):
                    for column in own.features.to(kind):
                        assert column[:2].numpy().tobytes() not in data


@pytest.mark.parametrize(("parties", "degree"), CASES)
def test_gradient_reaches_its_owner_alone(train_all, parties, degree):
    terms = make_terms(parties, degree)
    inputs = make_inputs(terms, parties, secret=1)
    received, states = listen(train_all, terms, inputs, dict.fromkeys(parties, 7))
    _, gradients = secrets_of(terms, inputs, states)
    for name in parties:
        sizes = [len(payload) for _, payload in received[name].payloads[3:]]
        for owner in gradients:
            # Two parts in each step, and parts of nobody else's block.
            assert sizes.count(8 * WIDTHS[owner]) == (2 * STEPS if owner == name else 0)
        # No two messages, of whatever length, add up to another block's gradient.
        parts = [np.frombuffer(p, dtype="<i8") for _, p in received[name].payloads[3:]]
        for one, two in combinations(parts, 2):
            shared = min(len(one), len(two))
            for owner, words in gradients.items():
                if owner != name:
                    assert not words & set((one[:shared] + two[:shared]).tolist())
                    assert not words & set((one[:shared] - two[:shared]).tolist())


def bits_of(payloads: list[bytes]) -> np.ndarray:
    words = np.frombuffer(b"".join(payloads), dtype=np.uint8)
    return np.unpackbits(words)


@pytest.mark.parametrize("observer", PARTNERS)
def test_two_worlds_look_alike_before_the_first_opening(train_all, observer):
    # The observer's inputs and randomness stay; the others' secrets differ between the
    # worlds and their randomness from run to run. Were one word of the view not masked by
    # something the observer does not know, its bits would tell the worlds apart.
    terms = make_terms(PARTNERS, 3)
    runs = 100
    totals = []
    for world in (1, 2):
        inputs = make_inputs(terms, PARTNERS, secret=world)
        inputs[observer] = make_inputs(terms, PARTNERS, secret=0)[observer]
        if world == 2:
            for name in PARTNERS:
                if name != observer:
                    inputs[name].features = torch.zeros_like(inputs[name].features)
        total = 0
        for run in range(runs):
            seeds = {name: 10_000 * world + 3 * run + i for i, name in enumerate(PARTNERS)}
            seeds[observer] = 5
            received, _ = listen(train_all, short(terms), inputs, seeds)
            view = received[observer].before_opening
            total = total + bits_of([view[0], *view[3:]]).astype(np.int32)
        totals.append(total)
    assert len(totals[0]) == len(totals[1]) > 10_000
    for total in totals:
        assert np.abs(total / runs - 0.5).max() * 2 * math.sqrt(runs) < 6
    difference = np.abs(totals[0] - totals[1]) / math.sqrt(runs / 2)
    assert difference.max() < 6.5


def short(terms):
    return Terms(
        rows=terms.rows,
        blocks=terms.blocks,
        label_holder=terms.label_holder,
        steps=1,
        noise_multiplier=terms.noise_multiplier,
        degree=terms.degree,
        schedule=terms.schedule,
        base=terms.base,
    )


@pytest.mark.parametrize("observer", ["insurer", "hub", "police"])
def test_messages_mask_each_other_in_no_pair(train_all, observer):
    # A mask that served for two messages would cancel in their sum or difference.
    terms = make_terms(WITH_HUB, 3)
    inputs = make_inputs(terms, WITH_HUB, secret=1)
    for name in WITH_HUB:
        if inputs[name].features is not None:
            inputs[name].features = torch.zeros_like(inputs[name].features)
    received, _ = listen(train_all, terms, inputs, {name: i for i, name in enumerate(WITH_HUB)})
    parts = [np.frombuffer(p, dtype="<i8") for _, p in received[observer].payloads[3:]]
    openings = {8 * width for width in WIDTHS.values()}
    parts = [part for part in parts if 8 * len(part) not in openings]
    for one, two in combinations(parts, 2):
        shared = min(len(one), len(two))
        for combined in (one[:shared] - two[:shared], one[:shared] + two[:shared]):
            assert (np.abs(combined) < 2**48).sum() <= 1


@pytest.mark.parametrize("label_holder", PARTNERS)
def test_no_summand_is_sent_unblinded(train_all, monkeypatch, label_holder):
    # What a party computes from its shares alone is a function of words that others hold
    # too: with enough columns the owner of a block could solve for the residual's summands.
    computed: list[np.ndarray] = []

    def recording(original):
        def compute(*arguments):
            summand = original(*arguments)
            computed.append(summand.numpy().copy())
            return summand

        return compute

    for module in (head, shares):
        for function in ("product", "matrix_product"):
            monkeypatch.setattr(module, function, recording(getattr(module, function)))
    terms = replace(make_terms(PARTNERS, 3), label_holder=label_holder, noise_multiplier=1e-6)
    inputs = make_inputs(terms, PARTNERS, secret=1)
    received, _ = listen(train_all, terms, inputs, {name: i for i, name in enumerate(PARTNERS)})
    assert len(computed) == 3 * STEPS * (2 + 1 + 3)
    sent = [
        np.frombuffer(payload, dtype="<i8")
        for name in PARTNERS
        for _, payload in received[name].payloads[3:]
    ]
    for summand in computed:
        for words in sent:
            if len(words) == len(summand):
                # The noise is below 2^30; a difference of masks is not.
                assert (np.abs(words - summand) < 2**40).sum() <= 1


def test_mask_and_labels_of_zero_look_like_those_of_one(train_all):
    # The values of fewest bits: their sharing alone must hide them.
    terms = short(make_terms(PARTNERS, 1))
    for value in (0, 1):
        inputs = make_inputs(terms, PARTNERS, secret=1)
        inputs["insurer"].mask = torch.full((ROWS,), value)
        inputs["insurer"].labels = torch.full((ROWS,), value)
        received, _ = listen(train_all, terms, inputs, dict.fromkeys(PARTNERS, 3))
        for name in ("telecom", "police"):
            words = received[name].words
            assert (np.abs(words) < 2**48).sum() <= 2
