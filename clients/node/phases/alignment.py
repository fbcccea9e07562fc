"""Phase align: agree the run key, send pseudonyms, keep where our rows stand."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clients.node.files import store_array, store_json
from clients.node.home import Home
from clients.node.session import Session
from clients.node.table import load_table
from compliance.atrest.secrets import write_secret
from protocols.align.errors import AlignmentRefusedError
from protocols.align.pseudonyms import KeyedHashSource, held_out, pseudonyms, sample
from protocols.align.rows import RowMap, align_rows
from protocols.align.runkey import CONTRIBUTION_SIZE, agree_run_key
from protocols.align.table import DefectPolicy, read_identifiers
from protocols.align.union import Membership
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.identifiers import IdentifierKind
from protocols.phase import PhaseReply, PhaseRequest, done
from protocols.seal import verify_announcement
from protocols.vertical.plan import TrainingPlan


def run(home: Home, request: PhaseRequest) -> PhaseReply:
    """Align this node's rows with the other partners' without telling anyone who is shared."""
    session = Session.resume(home, request.run)
    session.begin(request)
    store_json(session.directory / "announced.json", _verified(session.plan, session.ours, request))
    config, contract = home.config(), home.contract()
    table = load_table(config.table, contract, held_out_column=config.held_out_column)
    column = read_identifiers(
        table.identifiers,
        IdentifierKind(contract.identifier_kind),
        column=contract.identifier,
        malformed=DefectPolicy.DROP,
        duplicates=DefectPolicy.DROP,
    )
    # Before the link is opened: holders may take a while, and nobody waits on it meanwhile.
    outputs = _oblivious(home, session.plan.epoch, column.identifiers)
    refusal: AlignmentRefusedError | None = None
    with session.channel(request) as channel:
        run_key = channel.run(
            agree_run_key(
                session.ours,
                session.plan.names,
                os.urandom(CONTRIBUTION_SIZE),
                context=session.plan.digest,
            )
        )
        if outputs is None:
            outputs = KeyedHashSource.of_run(run_key).evaluate(column.identifiers)
        names = pseudonyms(run_key, outputs)
        chosen = sample(run_key, names, session.plan.sample_fraction)
        membership = Membership(session.plan.membership)
        try:
            rows = channel.run(align_rows(names[chosen], membership=membership))
        except AlignmentRefusedError as error:
            refusal = error
    if refusal is not None:
        # Only after the link was left in peace: breaking off would take their refusal from
        # partners that have not read it yet.
        raise refusal
    taken = column.rows[chosen]
    hidden = held_out(run_key, names[chosen], session.plan.held_out_fraction)
    if table.held_out is not None:
        hidden = table.held_out[taken]
    _keep(session, run_key, rows, taken, hidden)
    report = column.report
    return done(
        json.dumps(
            {
                "rows": len(taken),
                "total": rows.total,
                "dropped": {
                    "malformed": len(report.malformed),
                    "duplicates": len(report.duplicates),
                },
            }
        )
    )


def _oblivious(home: Home, epoch: int, identifiers: Sequence[bytes]) -> list[bytes] | None:
    """Return what the function of the plan's epoch gives, or None if the plan names none."""
    if epoch == 0:
        return None
    from clients.lookup.source import EpochSource  # noqa: PLC0415  only such plans need HTTP

    return EpochSource(home, epoch).evaluate(identifiers)


def _verified(plan: TrainingPlan, ours: str, request: PhaseRequest) -> dict[str, str]:
    """Check every other partner's announcement against its pinned key and this very plan."""
    try:
        announcements = json.loads(request.body)["announcements"]
        found = {str(name): bytes.fromhex(value) for name, value in announcements.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedMessageError("announcements: the request holds none") from error
    verified = {}
    for partner in plan.partners:
        if partner.name == ours:
            continue
        if partner.name not in found:
            raise InvalidProofError(
                f"announcement of {partner.name}: missing; ask for the plan again"
            )
        identity = Ed25519PublicKey.from_public_bytes(bytes.fromhex(partner.identity))
        public = verify_announcement(
            identity, plan.run, plan.digest, partner.name, found[partner.name]
        )
        verified[partner.name] = public.hex()
    return verified


def _keep(
    session: Session, run_key: bytes, rows: RowMap, taken: np.ndarray, hidden: np.ndarray
) -> None:
    directory = session.directory
    write_secret(directory / "run.key", run_key)
    store_array(directory / "rows.npy", rows.rows)
    store_array(directory / "taken.npy", taken)
    store_array(directory / "held_out.npy", hidden)
    store_json(directory / "alignment.json", {"total": rows.total})
