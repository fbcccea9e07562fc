"""Phase prepare: check the table, encode it, and lay it out on the joint rows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable

import numpy as np
import torch

from clients.node.files import load_array, store_array
from clients.node.home import Home
from clients.node.phases.drawing import discrete_noise
from clients.node.session import Session
from clients.node.spending import open_ledger, reserve
from clients.node.table import Table, load_table
from clients.office import node_office
from compliance.files import write_atomically
from protocols.align.rows import RowMap
from protocols.codec import canonical_json
from protocols.dp.events import DpEvent
from protocols.errors import InvalidTableError
from protocols.phase import PhaseReply, PhaseRequest, done
from protocols.program import Charge, Program, Request, drive
from protocols.vertical.counts import Counts, release_counts
from protocols.vertical.encoding import Encoder, fit_encoder
from protocols.vertical.neural import Targets
from protocols.vertical.neural_terms import LABELS
from protocols.vertical.plan import Kind
from protocols.vertical.pool import Outcome, Pool
from protocols.vertical.together import Bringing, prepare_together, station_of, takes_part


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
    torch.set_num_threads(1)
    if session.ours in plan.label_holders:
        _lay_out_labels(session, table, place)
    if kind_of(session).is_shared:
        present = place.scatter(np.ones(table.rows))
        store_array(session.directory / "present.npy", present)
    encoder = counts = None
    if plan.pools and takes_part(plan, session.ours):
        encoder, counts = _together(home, session, request, table)
    reply: dict[str, int] = {"width": 0}
    if plan.partner(session.ours).columns:
        if encoder is None:
            encoder = _alone(home, session, request, table)
        write_atomically(session.directory / "encoder.json", encoder.store())
        reply["width"] = lay_out(session, encoder, table, place)
    if session.ours in plan.label_holders:
        if counts is None:
            counts = _counted(home, session, request.attempt)
        reply |= {"trained": counts.trained, "positives": counts.positives}
    return done(json.dumps(reply))


def kind_of(session: Session) -> Kind:
    """Return the kind of partner that we are, with those who are of it too."""
    return next(kind for kind in session.plan.kinds if session.ours in kind.names)


def lay_out(session: Session, encoder: Encoder, table: Table, place: RowMap) -> int:
    """Encode our rows, lay them out on the joint rows, and return how wide they are."""
    partner = session.plan.partner(session.ours)
    encoded = encoder.encode(table.columns) * np.float32(partner.norm)
    features = np.ascontiguousarray(place.scatter(encoded).T)  # (width, joint rows)
    store_array(session.directory / "features.npy", features)
    return encoder.width


def _alone(home: Home, session: Session, request: PhaseRequest, table: Table) -> Encoder:
    """Fit the encoder of a partner whose columns nobody else has."""
    with open_ledger(home) as ledger:
        program = _fitting(home, session, table)(None)
        return drive(program, _performer(session.charger(ledger, request.attempt)))


def _together(
    home: Home, session: Session, request: PhaseRequest, table: Table
) -> tuple[Encoder | None, Counts | None]:
    """Fit and count with the others of our kind, and compute for those of other kinds."""
    plan, ours = session.plan, session.ours
    kind = kind_of(session)
    fit = _fitting(home, session, table) if kind.is_shared and kind.first.columns else None
    outcome = None
    if plan.label_kind.is_shared and ours in plan.label_holders:
        names = ("present", "train_mask", "labels")
        bits = [torch.from_numpy(load_array(session.directory / f"{name}.npy")) for name in names]
        outcome = Outcome.of(*bits)
    narrowed = home.contract().narrowed(frozenset(plan.partner(ours).columns))
    columns = hashlib.sha256(canonical_json(narrowed.format()["columns"])).digest()
    with (
        open_ledger(home) as ledger,
        session.channel(request, session.charger(ledger, request.attempt)) as channel,
    ):
        return channel.run(
            prepare_together(
                plan=plan,
                ours=ours,
                rows=session.total,
                station=station_of(plan, ours, os.urandom),
                noise=discrete_noise,
                bringing=Bringing(columns, fit, outcome),
            )
        )


def _fitting(
    home: Home, session: Session, table: Table
) -> Callable[[Pool | None], Program[Encoder]]:
    """Return the program that fits our encoder, alone or over a pool."""
    columns = session.plan.partner(session.ours).columns

    def fit(pool: Pool | None) -> Program[Encoder]:
        return fit_encoder(
            session.plan,
            session.ours,
            home.contract().narrowed(frozenset(columns)),
            table.columns,
            os.urandom,
            targets=targets_of(session, table),
            pool=pool,
        )

    return fit


def _check_labels(session: Session, table: Table) -> None:
    """Refuse, before anything is set aside, labels from which nothing can be learned."""
    if session.ours not in session.plan.label_holders:
        return
    name = table.contract.label
    if table.labels is None or name is None:
        raise InvalidTableError("label: this partner's contract names none; correct it")
    train = table.labels[~load_array(session.directory / "held_out.npy")]
    if not 0 < train.sum() < len(train):
        raise InvalidTableError(
            f"column {name}: the rows to train on do not hold both 0 and 1; check the export"
        )


def targets_of(session: Session, table: Table) -> Targets | None:
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


def _counted(home: Home, session: Session, attempt: int) -> Counts:
    """Release the counts that every owner needs, paid for here."""
    labels = load_array(session.directory / "own_labels.npy")
    held = load_array(session.directory / "held_out.npy")
    with open_ledger(home) as ledger:
        program = release_counts(session.plan, labels, ~held, os.urandom)
        return drive(program, _performer(session.charger(ledger, attempt)))


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
