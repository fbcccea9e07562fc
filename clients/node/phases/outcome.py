"""Phases validate and score: the joint scores, opened to the label holder alone.

validate   the held-out customers' scores are opened; the head is measured on them
score      every customer's score is opened; the label holder refines it with its own
           columns, measures again on the held-out customers, and keeps the result
"""

from __future__ import annotations

import json
import os

import numpy as np
import torch
from numpy.typing import NDArray

from clients.node.entering import RunJournal
from clients.node.files import load_array, load_json, store_array, store_json
from clients.node.home import Home
from clients.node.metrics import measure
from clients.node.phases.training import read_terms
from clients.node.refinement import probabilities, refine
from clients.node.session import Session
from clients.node.table import load_table
from clients.office import node_office
from protocols.phase import PhaseReply, PhaseRequest, done
from protocols.vertical.head import Terms, joint_logits
from protocols.vertical.shares import Trio

_SEED = 0
# Far beyond any logit that means anything, and safe in fixed point.
MAX_LOGIT = 1e4


def run(home: Home, request: PhaseRequest) -> PhaseReply:
    """Open joint scores; at the label holder, measure and keep them."""
    session = Session.resume(home, request.run)
    session.begin(request)
    if session.ours not in session.plan.compute:
        return done()
    scoring = request.phase == "score"
    terms = read_terms(session, request)
    _release(home, session, request.phase)
    logits = _open(session, request, terms, scoring=scoring)
    if logits is None:
        return done()
    held = load_array(session.directory / "held_out.npy")
    labels = load_array(session.directory / "own_labels.npy")
    if not scoring:
        rate = 0.5 if terms.base is None else terms.base.rate
        metrics = measure(labels[held], probabilities(logits[held], rate), seed=_SEED)
        return _reply(session, {"head": None if metrics is None else metrics.rounded()})
    scores, alone = _refined(home, session, logits, labels, held)
    store_array(session.directory / "logit.npy", logits)
    store_array(session.directory / "refined.npy", scores)
    final, own = (measure(labels[held], values[held], seed=_SEED) for values in (scores, alone))
    return _reply(
        session,
        {
            "scores": len(scores),
            "joint": None if final is None else final.rounded(),
            "label_holder_alone": None if own is None else own.rounded(),
        },
    )


def _release(home: Home, session: Session, phase: str) -> None:
    """Decide, and enter, that the scores are opened to the label holder.

    How many people the label holder has is known to itself alone.
    """
    count = 0
    if session.ours == session.plan.label_holder:
        held = load_array(session.directory / "held_out.npy")
        count = len(held) if phase == "score" else int(held.sum())
    with node_office(home) as office:
        RunJournal(office, session.plan).open_scores(phase, count)


def _open(
    session: Session, request: PhaseRequest, terms: Terms, *, scoring: bool
) -> NDArray[np.float64] | None:
    """Return the joint logits of the label holder's rows in its own order, None elsewhere."""
    torch.set_num_threads(1)
    plan, directory = session.plan, session.directory
    own = mask = None
    block = next((block for block in terms.blocks if block.owner == session.ours), None)
    if block is not None:
        features = torch.from_numpy(load_array(directory / "features.npy")).to(torch.float32)
        weights = torch.from_numpy(load_array(directory / "weights.npy"))
        # Scores are not clipped: the bound serves the residual of training alone.
        own = (weights.to(torch.float32) @ features).clamp(-MAX_LOGIT, MAX_LOGIT)
    if session.ours == plan.label_holder:
        name = "own_mask.npy" if scoring else "held_out_mask.npy"
        mask = torch.from_numpy(load_array(directory / name))
    names = plan.compute
    trio = Trio(names=(names[0], names[1], names[2]), ours=session.ours, random=os.urandom)
    with session.channel(request) as channel:
        opened = channel.run(
            joint_logits(
                trio=trio, terms=terms, own=own, mask=mask, resolution_bits=plan.resolution_bits
            )
        )
    if opened is None:
        return None
    values: NDArray[np.float64] = opened.numpy()[load_array(directory / "rows.npy")]
    return values


def _refined(
    home: Home,
    session: Session,
    logits: NDArray[np.float64],
    labels: NDArray[np.float64],
    held: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    config = home.config()
    table = load_table(config.table, home.contract(), held_out_column=config.held_out_column)
    table = table.taken(load_array(session.directory / "taken.npy"))
    return refine(table, logits, labels, ~held)


def _reply(session: Session, value: dict[str, object]) -> PhaseReply:
    path = session.directory / "metrics.json"
    before = load_json(path) if path.exists() else {}
    store_json(path, before | value)
    return done(json.dumps(value))
