"""Phases validate and score: the joint scores, opened to each label holder of its own people.

validate   the held-out customers' scores are opened; the head is measured on them
score      every customer's score is opened; the label holder refines it with its own
           columns, measures again on the held-out customers, and keeps the result
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clients.node.entering import RunJournal
from clients.node.files import load_array, load_json, store_array, store_json
from clients.node.home import Home
from clients.node.metrics import measure
from clients.node.phases.training import presence_of, read_terms
from clients.node.refinement import probabilities, refine
from clients.node.session import Session
from clients.node.table import load_table
from clients.office import node_office
from protocols.phase import PhaseReply, PhaseRequest, done
from protocols.vertical.contributing import contribute_logits
from protocols.vertical.head import Terms, joint_logits
from protocols.vertical.outsider import Outsider
from protocols.vertical.together import station_of, takes_part

_SEED = 0
# Far beyond any logit that means anything, and safe in fixed point.
MAX_LOGIT = 1e4


def run(home: Home, request: PhaseRequest) -> PhaseReply:
    """Open joint scores; at the label holder, measure and keep them."""
    session = Session.resume(home, request.run)
    session.begin(request)
    if not takes_part(session.plan, session.ours):
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
    if session.ours in session.plan.label_holders:
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
    if terms.block_of(session.ours) is not None:
        features = torch.from_numpy(load_array(directory / "features.npy")).to(torch.float32)
        weights = torch.from_numpy(load_array(directory / "weights.npy"))
        # Scores are not clipped: the bound serves the residual of training alone.
        own = (weights.to(torch.float32) @ features).clamp(-MAX_LOGIT, MAX_LOGIT)
    if session.ours in plan.label_holders:
        name = "own_mask.npy" if scoring else "held_out_mask.npy"
        mask = torch.from_numpy(load_array(directory / name))
    station = station_of(plan, session.ours, os.urandom)
    values: dict[str, Any] = {
        "terms": terms,
        "own": own,
        "mask": mask,
        "resolution_bits": plan.resolution_bits,
        "present": presence_of(session),
    }
    with session.channel(request) as channel:
        if isinstance(station, Outsider):
            opened = channel.run(contribute_logits(outsider=station, **values))
        else:
            opened = channel.run(joint_logits(trio=station, **values))
    if opened is None:
        return None
    logits: NDArray[np.float64] = opened.numpy()[load_array(directory / "rows.npy")]
    return logits


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
