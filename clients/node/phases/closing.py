"""Phase finish: close the budget, enter what was paid, keep the record, forget the secrets."""

from __future__ import annotations

import json
import time
from typing import Any

from clients.node.entering import RunJournal
from clients.node.files import load_json, store_json
from clients.node.home import Home
from clients.node.session import Session
from clients.node.spending import open_ledger
from clients.office import node_office
from protocols.dp.events import event_fields
from protocols.phase import PhaseReply, PhaseRequest, done

# What must not outlive a run: whoever finds it could open frames or test pseudonyms. The last
# one says that the run has not ended here.
_SECRETS = ("run.key", "announced.json", "checkpoint-*.bin", "ephemeral.key")
# What is large and of no further use; scores, weights and the encoder stay.
_BULK = (
    "features.npy",
    "labels.npy",
    "train_mask.npy",
    "own_mask.npy",
    "held_out_mask.npy",
    "present.npy",
)


def run(home: Home, request: PhaseRequest) -> PhaseReply:
    """End the run here, however far it came."""
    session = Session.resume(home, request.run)
    session.begin(request)
    record = end(session)
    return done(json.dumps({"releases": record["releases"], "sent_bytes": record["sent_bytes"]}))


def end(session: Session) -> dict[str, Any]:
    """Give back what the run did not pay, enter what it did, keep its record, delete its secrets.

    The hub asks for it as the last phase; an operator does it for a run whose hub is gone.
    Every step can be repeated, and the secrets go last: whatever a crash left is finished by
    whoever ends the run again. Returns the record.
    """
    run = session.plan.run
    with open_ledger(session.home) as ledger:
        if run in ledger.open_runs():
            ledger.close_run(run, int(time.time()))
        releases = [
            {"label": charge.label, "event": event_fields(charge.event)}
            for charge in ledger.charges(run)
        ]
    with node_office(session.home) as office:
        RunJournal(office, session.plan).ended(releases)
    record = {
        "run": run,
        "plan_hash": session.plan.digest.hex(),
        "releases": releases,
        "sent_bytes": _load(session, "sent.json"),
        "metrics": _load(session, "metrics.json"),
    }
    store_json(session.directory / "record.json", record)
    for pattern in (*_BULK, *_SECRETS):
        for path in session.directory.glob(pattern):
            path.unlink()
    return record


def finish_ended(home: Home) -> list[str]:
    """End again every run whose end was broken off; returns their names.

    A run that still holds its reservation may go on, and is left alone.
    """
    found = []
    for path in sorted(home.root.glob("runs/*/ephemeral.key")):
        run = path.parent.name
        with open_ledger(home) as ledger:
            closed = bool(ledger.charges(run)) and run not in ledger.open_runs()
        if closed or (path.parent / "record.json").exists():
            end(Session.resume(home, run))
            found.append(run)
    return found


def _load(session: Session, name: str) -> object:
    path = session.directory / name
    return load_json(path) if path.exists() else {}
