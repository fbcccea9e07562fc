"""Training the neural expert at its owner: DP-SGD by Opacus, on the owner's own rows.

    labels           embedding -> the label, on the label holder's training rows
    reconstruction   embedding of a row with columns hidden -> the hidden columns

Which rows make a batch is known to nobody but the owner, and drawn anew by Poisson
sampling at every step, so subsampling amplifies here. It would not among parties that
know the rows of every step: the joint steps count in full.

The network never leaves an owner that trains it alone. What others see of it are noised
gradients and scores of the joint head, so floating-point noise from a seeded generator is
enough; it is seeded anew for every step from the injected randomness.

Members of one block train together (`train_round`): each goes some steps from the common
weights, and how far it went leaves it, in a sum with the others', cut to fixed point. Those
steps stand on 64 bits of fresh seed each, and on floating-point Gaussian noise.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from protocols.errors import MalformedMessageError
from protocols.vertical.axis import Reals
from protocols.vertical.neural import Expert, Targets
from protocols.vertical.neural_terms import LABELS, NeuralTerms
from protocols.vertical.outline import standardised

Random = Callable[[int], bytes]

_CLIP_NORM = 1.0
# Over the root of the inputs: a step then moves a narrow and a wide layer alike.
_LEARNING_RATE = 0.05
# The share of inputs that a row hides from the network, to be filled in.
_HIDDEN_SHARE = 0.3
# Gradients of single persons that are held at once, in numbers.
_GRADIENTS_AT_ONCE = 1 << 26
# True here: batches and noise come from generators that we seed, and inputs need no gradient.
_EXPECTED_WARNINGS = ("Secure RNG turned off", "Full backward hook is firing")


def train_expert(
    terms: NeuralTerms,
    outlines: Iterable[Reals],
    centring: tuple[Reals, Reals],
    targets: Targets | None,
    *,
    random: Random,
) -> Expert:
    """Train a network with one hidden layer, which is the embedding.

    Args:
        outlines: all rows, in pieces, as `outline` makes them.
        centring: centre and scale, as `centring_of` derives them.
        targets: for the task `labels`.
        random: returns that many uniform bytes; the only source of randomness.

    Privacy:
        DP-SGD with the noise, rate and steps of `terms.event`, charged by the caller
        before the call. Neighbours: zero out one person, whose gradient then is in no
        batch. Nothing here depends on the number of rows but through those gradients.

    Source:
        Abadi et al. 2016 (arXiv 1607.00133), Algorithm 1, as Opacus implements it.
    """
    rows = _rows(terms, outlines, centring, targets)
    model = _begun(terms, rows, random)
    _train(terms, model, rows, random)
    return _expert(terms, centring, model)


def untrained_expert(terms: NeuralTerms, centring: tuple[Reals, Reals], *, seed: bytes) -> Expert:
    """Return the expert from which all members of a block begin; public, looks at no row.

    Args:
        seed: at least 8 bytes, the same at all members.
    """
    return _expert(terms, centring, _from_seed(terms, len(centring[0]), seed))


def train_round(
    terms: NeuralTerms,
    outlines: Iterable[Reals],
    centring: tuple[Reals, Reals],
    targets: Targets | None,
    *,
    seed: bytes,
    moved: Reals,
    random: Random,
) -> Reals:
    """Go one round's steps from the common weights, and return how far that moved them.

    Shapes:
        moved, result: (weights,); an empty `moved` is the beginning.

    Args:
        seed: as in `untrained_expert`.
        moved: how far the weights have moved from the beginning, over all members.

    Privacy:
        DP-SGD with `terms.round_event`, charged by the caller before the call.
    """
    rows = _rows(terms, outlines, centring, targets)
    model = _from_seed(terms, rows.width, seed)
    _move(model, moved)
    before = _weights(model)
    _train(replace(terms, steps=terms.steps // terms.rounds, rounds=0), model, rows, random)
    return _weights(model) - before


def moved_expert(
    terms: NeuralTerms, centring: tuple[Reals, Reals], *, seed: bytes, moved: Reals
) -> Expert:
    """Return the expert that all members have after the last round.

    Raises:
        MalformedMessageError: the weights are not of this expert's size.
    """
    model = _from_seed(terms, len(centring[0]), seed)
    _move(model, moved)
    return _expert(terms, centring, model)


def _rows(
    terms: NeuralTerms,
    outlines: Iterable[Reals],
    centring: tuple[Reals, Reals],
    targets: Targets | None,
) -> _Rows:
    pieces = [standardised(part, *centring).astype(np.float32) for part in outlines]
    inputs = torch.from_numpy(np.concatenate(pieces))
    if terms.task != LABELS:
        return _Rows(inputs, None)
    if targets is None:
        raise ValueError(f"targets: the task {LABELS} needs them")
    train = torch.from_numpy(targets.train)
    return _Rows(inputs[train], torch.from_numpy(targets.labels).float()[train])


def _begun(terms: NeuralTerms, rows: _Rows, random: Random) -> nn.Sequential:
    generator = torch.Generator()
    reseed(generator, random)
    return network(rows.width, terms.width, 1 if rows.is_labelled else rows.width, generator)


def _from_seed(terms: NeuralTerms, inputs: int, seed: bytes) -> nn.Sequential:
    generator = torch.Generator()
    reseed(generator, lambda size: seed[:size])
    return network(inputs, terms.width, 1 if terms.task == LABELS else inputs, generator)


def _expert(terms: NeuralTerms, centring: tuple[Reals, Reals], model: nn.Sequential) -> Expert:
    layer, bias = (values.detach().numpy() for values in model[0].parameters())
    return Expert(terms.weight, *centring, layer, bias)


def _weights(model: nn.Module) -> Reals:
    flat = torch.cat([values.detach().flatten() for values in model.parameters()])
    result: Reals = flat.to(torch.float64).numpy()
    return result


def _move(model: nn.Module, moved: Reals) -> None:
    if len(moved) == 0:
        return
    total = sum(values.numel() for values in model.parameters())
    if len(moved) != total:
        raise MalformedMessageError(f"weights: {len(moved)} numbers, expected {total}")
    at = 0
    with torch.no_grad():
        for values in model.parameters():
            part = torch.from_numpy(moved[at : at + values.numel()])
            values.add_(part.reshape(values.shape).to(values.dtype))
            at += values.numel()


def network(inputs: int, width: int, outputs: int, generator: torch.Generator) -> nn.Sequential:
    """Make the network; its first weights come from `generator` alone."""
    # Made without first weights, which torch would draw from its global generator.
    first = nn.Linear(inputs, width, device="meta").to_empty(device="cpu")
    last = nn.Linear(width, outputs, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for layer in (first, last):
            layer.weight.normal_(std=layer.in_features**-0.5, generator=generator)
            layer.bias.zero_()
    return nn.Sequential(first, nn.Tanh(), last)


def reseed(generator: torch.Generator, random: Random) -> None:
    """Seed a generator with 64 fresh bits."""
    generator.manual_seed(int.from_bytes(random(8), "big", signed=True))


class _Rows(Dataset[tuple[Tensor, Tensor]]):
    """Rows and what is to be learned of them; a batch is taken at once, and may be empty."""

    def __init__(self, inputs: Tensor, labels: Tensor | None) -> None:
        self.is_labelled = labels is not None
        self._inputs = inputs
        self._targets = inputs if labels is None else labels[:, None]

    @property
    def width(self) -> int:
        """Return how many inputs a row has."""
        return self._inputs.shape[1]

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._inputs[index], self._targets[index]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        chosen = torch.tensor(indices, dtype=torch.int64)
        return self._inputs[chosen], self._targets[chosen]


def _train(terms: NeuralTerms, model: nn.Sequential, rows: _Rows, random: Random) -> None:
    """Train in place, and see that Opacus's accountant counts what was charged."""
    if _descend(terms, model, rows, random) != [(terms.noise, 1 / terms.batches, terms.steps)]:
        # Never reached unless a release of Opacus counts in another way.
        raise ValueError("neural: Opacus counted other steps than were charged")


def _descend(
    terms: NeuralTerms, model: nn.Sequential, rows: _Rows, random: Random
) -> list[tuple[float, float, int]]:
    """Train in place; return what Opacus's accountant counted."""
    from opacus import PrivacyEngine  # noqa: PLC0415  over a second; few need it

    batches, noise, hiding = torch.Generator(), torch.Generator(), torch.Generator()
    rate = _LEARNING_RATE * rows.width**-0.5
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    with _expected_warnings():
        engine = PrivacyEngine(accountant="rdp")
        private, private_optimizer, loader = engine.make_private(
            module=model,
            optimizer=optimizer,
            data_loader=_loader(rows, terms.batches, batches),
            noise_multiplier=terms.noise,
            max_grad_norm=_CLIP_NORM,
            loss_reduction="sum",
            poisson_sampling=True,
            noise_generator=noise,
        )
        at_once = max(1, _GRADIENTS_AT_ONCE // sum(p.numel() for p in model.parameters()))
        reseed(batches, random)
        drawn = itertools.chain.from_iterable(itertools.repeat(loader))
        for values, targets in itertools.islice(drawn, terms.steps):
            for generator in (batches, noise, hiding):
                reseed(generator, random)
            pieces = list(
                zip(torch.split(values, at_once), torch.split(targets, at_once), strict=True)
            )
            for index, (part, wanted) in enumerate(pieces):
                private_optimizer.zero_grad()
                loss = _loss(private, part, wanted, None if rows.is_labelled else hiding)
                torch.autograd.backward(loss)
                private_optimizer.signal_skip_step(do_skip=index + 1 < len(pieces))
                private_optimizer.step()
    history: list[tuple[float, float, int]] = engine.accountant.history
    return history


def _loader(
    rows: _Rows, batches: int, generator: torch.Generator
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return a loader of exactly `batches` batches, from which Opacus takes the rate."""
    from opacus.utils.uniform_sampler import (  # noqa: PLC0415  over a second; few need it
        UniformWithReplacementSampler,
    )

    sampler = UniformWithReplacementSampler(
        num_samples=len(rows), sample_rate=1 / batches, generator=generator, steps=batches
    )
    return DataLoader(rows, batch_sampler=sampler, generator=generator, collate_fn=_as_taken)


def _as_taken(batch: Any) -> Any:
    return batch


def _loss(
    model: Callable[[Tensor], Tensor],
    values: Tensor,
    targets: Tensor,
    hiding: torch.Generator | None,
) -> Tensor:
    """Return the sum of the rows' losses, each of its own row alone."""
    if hiding is None:
        return nn.functional.binary_cross_entropy_with_logits(
            model(values), targets, reduction="sum"
        )
    hidden = torch.rand(values.shape, generator=hiding) < _HIDDEN_SHARE
    errors = (model(values.masked_fill(hidden, 0.0)) - targets) ** 2 * hidden
    return errors.sum() / (_HIDDEN_SHARE * values.shape[1])


@contextmanager
def _expected_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in _EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield
