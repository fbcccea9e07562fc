"""Phase prepare: check the table, encode it, and lay it out on the joint rows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import numpy as np
import torch

from clients.node.files import load_array, store_array
from clients.node.home import Home
from clients.node.session import Session
from clients.node.spending import open_ledger, reserve
from clients.node.table import Table, load_table
from clients.office import node_office
from compliance.files import write_atomically
from protocols.align.rows import RowMap
from protocols.dp.events import DpEvent
from protocols.errors import InvalidTableError
from protocols.phase import PhaseReply, PhaseRequest, done
from protocols.program import Charge, Request, drive
from protocols.vertical.counts import release_counts
from protocols.vertical.encoding import fit_encoder
from protocols.vertical.neural import Targets
from protocols.vertical.neural_terms import LABELS


def run(home: Home, request: PhaseRequest) -> PhaseReply:
    """Reserve the whole run's budget, then fit the encoder under its share of it."""
    session = Session.resume(home, request.run)
    session.begin(request)
    config, contract, plan = home.config(), home.contract(), session.plan
    table = load_table(config.table, contract, held_out_column=config.held_out_column)
    table = table.taken(load_array(session.directory / "taken.npy"))
    _check_labels(session, table)
    place = RowMap(load_array(session.directory / "rows.npy"), session.total)
    with node_office(home) as office:
        reserve(home, plan, office.agreement())
    width = 0
    partner = plan.partner(session.ours)
    if partner.columns:
        narrowed = contract.narrowed(frozenset(partner.columns))
        with open_ledger(home) as ledger:
            charge = session.charger(ledger, request.attempt)
            torch.set_num_threads(1)
            program = fit_encoder(
                plan,
                session.ours,
                narrowed,
                table.columns,
                os.urandom,
                targets=_targets(session, table),
            )
            encoder = drive(program, _performer(charge))
        encoded = encoder.encode(table.columns) * np.float32(partner.norm)
        features = np.ascontiguousarray(place.scatter(encoded).T)  # (width, joint rows)
        store_array(session.directory / "features.npy", features)
        write_atomically(session.directory / "encoder.json", encoder.store())
        width = encoder.width
    reply = {"width": width}
    if session.ours == plan.label_holder:
        _lay_out_labels(session, table, place)
        reply |= _counted(home, session, request.attempt)
    return done(json.dumps(reply))


def _check_labels(session: Session, table: Table) -> None:
    """Refuse, before anything is set aside, labels from which nothing can be learned."""
    if session.ours != session.plan.label_holder:
        return
    name = table.contract.label
    if table.labels is None or name is None:
        raise InvalidTableError("label: this partner's contract names none; correct it")
    train = table.labels[~load_array(session.directory / "held_out.npy")]
    if not 0 < train.sum() < len(train):
        raise InvalidTableError(
            f"column {name}: the rows to train on do not hold both 0 and 1; check the export"
        )


def _targets(session: Session, table: Table) -> Targets | None:
    """Return what our expert learns, if the plan lets it learn labels."""
    neural = session.plan.partner(session.ours).encoder.neural
    if neural is None or neural.task != LABELS or table.labels is None:
        return None
    held = load_array(session.directory / "held_out.npy")
    return Targets(table.labels, ~held)


def _performer(charge: Callable[[str, DpEvent], None]) -> Callable[[Request], None]:
    """Perform the requests of an encoder: it talks to nobody, it only pays."""

    def perform(request: Request) -> None:
        if isinstance(request, Charge):
            charge(request.label, request.event)

    return perform


def _counted(home: Home, session: Session, attempt: int) -> dict[str, int]:
    """Release the counts that every owner needs, paid for here."""
    labels = load_array(session.directory / "own_labels.npy")
    held = load_array(session.directory / "held_out.npy")
    with open_ledger(home) as ledger:
        program = release_counts(session.plan, labels, ~held, os.urandom)
        counts = drive(program, _performer(session.charger(ledger, attempt)))
    return {"trained": counts.trained, "positives": counts.positives}


def _lay_out_labels(session: Session, table: Table, place: RowMap) -> None:
    """Put labels and the masks of training, held-out and own rows on the joint rows."""
    held = load_array(session.directory / "held_out.npy")
    labels = table.labels
    if labels is None:
        raise InvalidTableError("label: this partner's contract names none; correct it")
    present = np.ones(table.rows)
    store_array(session.directory / "own_labels.npy", labels)
    for name, values in (
        ("labels", labels),
        ("train_mask", present * ~held),
        ("held_out_mask", present * held),
        ("own_mask", present),
    ):
        store_array(session.directory / f"{name}.npy", place.scatter(values))
