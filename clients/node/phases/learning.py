"""Phases learn and encode: an expert that the members of our block train together.

learn    one round: some steps of DP-SGD on our own rows from the common weights; how far they
         went leaves masked, so that the hub learns the sum over the members alone
encode   after the last round: every member takes the same weights and encodes its rows anew
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

import torch

from clients.node.files import load_array, load_json
from clients.node.home import Home
from clients.node.phases.preparation import kind_of, lay_out, targets_of
from clients.node.session import Session
from clients.node.spending import open_ledger
from clients.node.table import Table, load_table
from compliance.files import write_atomically
from protocols.align.rows import RowMap
from protocols.errors import MalformedMessageError, OutOfTurnError, UnsupportedParameterError
from protocols.phase import LEARN, PhaseReply, PhaseRequest, done
from protocols.seal import derive_mask_key
from protocols.vertical.averaging import decode_reals, encode_masked, mask_update
from protocols.vertical.axis import Reals
from protocols.vertical.encoding import Encoder, outlines_of
from protocols.vertical.neural import Expert
from protocols.vertical.neural_terms import NeuralTerms
from protocols.vertical.neural_training import moved_expert, train_round


def run(home: Home, request: PhaseRequest) -> PhaseReply:
    """Do a round, or take what the rounds led to; nothing where the plan has none for us."""
    session = Session.resume(home, request.run)
    session.begin(request)
    terms = session.plan.partner(session.ours).encoder.neural
    if terms is None or terms.rounds == 0:
        return done()
    torch.set_num_threads(1)
    config = home.config()
    table = load_table(config.table, home.contract(), held_out_column=config.held_out_column)
    table = table.taken(load_array(session.directory / "taken.npy"))
    body = _object(request.body)
    moved = decode_reals(body.get("moved"))
    if request.phase == LEARN:
        return _learn(session, request, terms, table, (body.get("round"), moved))
    return _encode(session, terms, table, moved)


def _learn(
    session: Session,
    request: PhaseRequest,
    terms: NeuralTerms,
    table: Table,
    asked: tuple[object, Reals],
) -> PhaseReply:
    number, moved = asked
    _take_turn(session, number, terms)
    encoder, expert = _encoder(session)
    with open_ledger(session.home) as ledger:
        event = terms.round_event
        # Paid before the steps look at a row; a round that comes to nothing stays paid.
        session.charger(ledger, request.attempt)(f"encoder/neural/round/{number}", event)
    update = train_round(
        terms,
        outlines_of(encoder.codes, table.columns),
        (expert.centre, expert.scale),
        targets_of(session, table),
        seed=session.plan.digest,
        moved=moved,
        random=os.urandom,
    )
    keys = mask_keys(session, request.attempt)
    words = mask_update(update, table.rows, session.ours, keys)
    return done(json.dumps({"update": encode_masked(words), "rows": table.rows}))


def _encode(session: Session, terms: NeuralTerms, table: Table, moved: Reals) -> PhaseReply:
    if _rounds_done(session) != terms.rounds:
        raise OutOfTurnError("phase encode: not all rounds were done here")
    encoder, expert = _encoder(session)
    centring = (expert.centre, expert.scale)
    learned = moved_expert(terms, centring, seed=session.plan.digest, moved=moved)
    encoder = encoder.with_learned(learned)
    place = RowMap(load_array(session.directory / "rows.npy"), session.total)
    write_atomically(session.directory / "encoder.json", encoder.store())
    return done(json.dumps({"width": lay_out(session, encoder, table, place)}))


def mask_keys(session: Session, attempt: int) -> dict[str, bytes]:
    """Derive the key of this round with every other member of our block."""
    announced: Mapping[str, str] = load_json(session.directory / "announced.json")
    return {
        name: derive_mask_key(
            session.ephemeral,
            bytes.fromhex(announced[name]),
            run=session.plan.run,
            plan_hash=session.plan.digest,
            ours=session.ours,
            theirs=name,
            phase=LEARN,
            attempt=attempt,
        )
        for name in kind_of(session).names
        if name != session.ours
    }


def _take_turn(session: Session, number: object, terms: NeuralTerms) -> None:
    """Use up a round, durably: each is done once, in order, whatever the hub asks."""
    expected = _rounds_done(session) + 1
    if number != expected or expected > terms.rounds:
        raise OutOfTurnError(
            f"phase learn: the next round here is {expected} of {terms.rounds}; end the run"
        )
    path = session.directory / "rounds.json"
    write_atomically(path, json.dumps({"done": expected, "at": int(time.time())}).encode())


def _rounds_done(session: Session) -> int:
    path = session.directory / "rounds.json"
    count: int = load_json(path)["done"] if path.exists() else 0
    return count


def _encoder(session: Session) -> tuple[Encoder, Expert]:
    """Load the encoder as phase prepare left it, with its untrained expert."""
    columns = session.plan.partner(session.ours).columns
    contract = session.home.contract().narrowed(frozenset(columns))
    encoder = Encoder.load((session.directory / "encoder.json").read_bytes(), contract)
    if encoder.expert is None:
        raise UnsupportedParameterError("encoder: has no expert; prepare the run anew")
    return encoder, encoder.expert


def _object(body: str) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise MalformedMessageError("round: the request is not valid JSON") from error
    if not isinstance(value, dict):
        raise MalformedMessageError("round: the request must be an object")
    return value
