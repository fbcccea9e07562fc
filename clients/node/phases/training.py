"""Phase train: our side of the joint head, from shared tables to our part of the model."""

from __future__ import annotations

import json
import os

import torch

from clients.node.entering import RunJournal
from clients.node.files import load_array, store_array
from clients.node.home import Home
from clients.node.session import Session
from clients.node.spending import open_ledger
from clients.office import node_office
from protocols.dp.discrete import sample_discrete_gaussian
from protocols.errors import MalformedMessageError
from protocols.phase import PhaseReply, PhaseRequest, done
from protocols.vertical.conditioning import Conditioner
from protocols.vertical.counts import Counts
from protocols.vertical.encoding import Encoder
from protocols.vertical.head import Inputs, Terms, train
from protocols.vertical.shares import Trio
from protocols.vertical.terms import terms_of


def run(home: Home, request: PhaseRequest) -> PhaseReply:
    """Train, if it is still agreed, paying for every step before its gradients leave."""
    session = Session.resume(home, request.run)
    session.begin(request)
    terms = read_terms(session, request)
    if session.ours not in session.plan.compute:
        return done()
    with node_office(home) as office:
        RunJournal(office, session.plan).begin_computing()
    torch.set_num_threads(1)
    names = session.plan.compute
    trio = Trio(names=(names[0], names[1], names[2]), ours=session.ours, random=os.urandom)
    with (
        open_ledger(home) as ledger,
        session.channel(request, session.charger(ledger, request.attempt)) as channel,
    ):
        head = channel.run(
            train(
                trio=trio,
                terms=terms,
                inputs=inputs_of(session, terms),
                noise=discrete_noise,
                resume=session.checkpoints(),
                conditioner=conditioner_of(home, session),
            )
        )
    if head.weights is not None:
        store_array(session.directory / "weights.npy", head.weights.numpy())
    return done(json.dumps({"steps": terms.steps}))


def conditioner_of(home: Home, session: Session) -> Conditioner | None:
    """Build the conditioner of our columns from what the encoder released."""
    path = session.directory / "encoder.json"
    if not path.exists():
        return None
    partner = session.plan.partner(session.ours)
    encoder = Encoder.load(path.read_bytes(), home.contract().narrowed(frozenset(partner.columns)))
    spread = encoder.spread * partner.norm**2
    return Conditioner.of(encoder.positions, spread, pairs=encoder.pair_count)


def discrete_noise(variance: int, size: int) -> torch.Tensor:
    """Draw discrete Gaussian integers from the operating system's randomness."""
    return torch.from_numpy(sample_discrete_gaussian(variance, size, random=os.urandom))


def read_terms(session: Session, request: PhaseRequest) -> Terms:
    """Derive the terms from our own plan and the public sizes that the hub passed round."""
    try:
        sizes = json.loads(request.body)
        widths = {str(name): int(width) for name, width in sizes["widths"].items()}
        counts = Counts(int(sizes["counts"]["trained"]), int(sizes["counts"]["positives"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedMessageError("sizes: the request holds none") from error
    return terms_of(session.plan, session.total, widths, counts)


def inputs_of(session: Session, terms: Terms) -> Inputs:
    """Load what this party brings: its encoded table and, at the label holder, labels and mask."""
    features = labels = mask = None
    if any(block.owner == session.ours for block in terms.blocks):
        features = torch.from_numpy(load_array(session.directory / "features.npy"))
    if session.ours == terms.label_holder:
        labels = torch.from_numpy(load_array(session.directory / "labels.npy"))
        mask = torch.from_numpy(load_array(session.directory / "train_mask.npy"))
    return Inputs(features, labels, mask)
