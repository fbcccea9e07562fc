"""Phase finish: close the budget, keep the record, forget the run's secrets."""

from __future__ import annotations

import json
import time
from typing import Any

from clients.node.files import load_json, store_json
from clients.node.home import Home
from clients.node.session import Session
from clients.node.spending import open_ledger
from protocols.dp.events import event_fields
from protocols.phase import PhaseReply, PhaseRequest, done

# What must not outlive a run: whoever finds it could open frames or test pseudonyms.
_SECRETS = ("ephemeral.key", "run.key", "announced.json", "checkpoint-*.bin")
# What is large and of no further use; scores, weights and the encoder stay.
_BULK = ("features.npy", "labels.npy", "train_mask.npy", "own_mask.npy", "held_out_mask.npy")


def run(home: Home, request: PhaseRequest) -> PhaseReply:
    """End the run here, however far it came."""
    session = Session.resume(home, request.run)
    session.begin(request)
    record = end(session)
    return done(json.dumps({"releases": record["releases"], "sent_bytes": record["sent_bytes"]}))


def end(session: Session) -> dict[str, Any]:
    """Give back what the run did not pay, keep its record, delete its secrets; returns the record.

    The hub asks for it as the last phase; an operator does it for a run whose hub is gone.
    """
    run = session.plan.run
    with open_ledger(session.home, session.plan) as ledger:
        if run in ledger.open_runs():
            ledger.close_run(run, int(time.time()))
        releases = [
            {"label": charge.label, "event": event_fields(charge.event)}
            for charge in ledger.charges(run)
        ]
    record = {
        "run": run,
        "plan_hash": session.plan.digest.hex(),
        "releases": releases,
        "sent_bytes": _load(session, "sent.json"),
        "metrics": _load(session, "metrics.json"),
    }
    store_json(session.directory / "record.json", record)
    for pattern in (*_SECRETS, *_BULK):
        for path in session.directory.glob(pattern):
            path.unlink()
    return record


def _load(session: Session, name: str) -> object:
    path = session.directory / name
    return load_json(path) if path.exists() else {}
