"""Phase train: our side of the joint head, from shared tables to our part of the model."""

from __future__ import annotations

import json
import os

import torch

from clients.node.entering import RunJournal
from clients.node.files import load_array, store_array
from clients.node.home import Home
from clients.node.phases.drawing import discrete_noise
from clients.node.session import Session
from clients.node.spending import open_ledger
from clients.office import node_office
from protocols.errors import MalformedMessageError
from protocols.phase import PhaseReply, PhaseRequest, done
from protocols.program import Program
from protocols.vertical.conditioning import Conditioner
from protocols.vertical.contributing import contribute
from protocols.vertical.counts import Counts
from protocols.vertical.encoding import Encoder
from protocols.vertical.head import Head, Inputs, Terms, train
from protocols.vertical.outsider import Outsider
from protocols.vertical.shares import Trio
from protocols.vertical.terms import terms_of
from protocols.vertical.together import station_of, takes_part


def run(home: Home, request: PhaseRequest) -> PhaseReply:
    """Train, if it is still agreed, paying for every step before its gradients leave."""
    session = Session.resume(home, request.run)
    session.begin(request)
    terms = read_terms(session, request)
    if not takes_part(session.plan, session.ours):
        return done()
    with node_office(home) as office:
        RunJournal(office, session.plan).begin_computing()
    torch.set_num_threads(1)
    station = station_of(session.plan, session.ours, os.urandom)
    with (
        open_ledger(home) as ledger,
        session.channel(request, session.charger(ledger, request.attempt)) as channel,
    ):
        head = channel.run(_program(home, session, terms, station))
    if head.weights is not None:
        store_array(session.directory / "weights.npy", head.weights.numpy())
    return done(json.dumps({"steps": terms.steps}))


def _program(home: Home, session: Session, terms: Terms, station: Trio | Outsider) -> Program[Head]:
    """Return our part: computing, or sharing what we bring with those who compute."""
    inputs, conditioner = inputs_of(session, terms), conditioner_of(home, session)
    if isinstance(station, Outsider):
        return contribute(outsider=station, terms=terms, inputs=inputs, conditioner=conditioner)
    return train(
        trio=station,
        terms=terms,
        inputs=inputs,
        noise=discrete_noise,
        resume=session.checkpoints(),
        conditioner=conditioner,
    )


def conditioner_of(home: Home, session: Session) -> Conditioner | None:
    """Build the conditioner of our columns from what the encoder released."""
    path = session.directory / "encoder.json"
    if not path.exists():
        return None
    partner = session.plan.partner(session.ours)
    encoder = Encoder.load(path.read_bytes(), home.contract().narrowed(frozenset(partner.columns)))
    spread = encoder.spread * partner.norm**2
    return Conditioner.of(encoder.positions, spread, pairs=encoder.pair_count)


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
    if terms.block_of(session.ours) is not None:
        features = torch.from_numpy(load_array(session.directory / "features.npy"))
    if session.ours in terms.label_holders:
        labels = torch.from_numpy(load_array(session.directory / "labels.npy"))
        mask = torch.from_numpy(load_array(session.directory / "train_mask.npy"))
    return Inputs(features, labels, mask, presence_of(session))


def presence_of(session: Session) -> torch.Tensor | None:
    """Load which of the joint rows are ours, if we are one of several of a kind."""
    path = session.directory / "present.npy"
    return torch.from_numpy(load_array(path)) if path.exists() else None
