"""The hub's part in a training run: it passes things on, joins the sets, keeps the record.

plan      ask every partner to accept this very plan; collect announcements
align     start the join; pass the announcements on
prepare   the word to begin; compute if named, where several partners add something up
learn     where members of a block train an expert together: average, round after round
encode    pass the last average on
train     pass the public widths on; compute if the plan names the hub
validate, score   compute if named; collect metrics
finish    collect what each partner released and sent
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from compliance.charges import charge_of
from compliance.errors import NotPermittedError
from compliance.policy.decision import Decision
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.tlog.entry import Outcome
from protocols.versions import IncompatibleVersionError, offer, require_neighbours
from protocols.vertical.plan import HUB, TrainingPlan
from server.log.journal import HubJournal
from server.training.coordinator import State
from server.training.plan import RunFolder, RunPlan, file_bytes
from server.training.record import build_record
from server.training.releases import check_releases

NOT_PERMITTED = "run.not_permitted"


class Control(Protocol):
    """Asks the hub process; see `server.link.control` and `server.training.programs`."""

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request and return its answer."""
        ...


class Training:
    """Conducts one training run; its beginning and end stand in the hub's audit log.

    Every plan is decided before a partner is asked for it. Without its beginning in the log
    nobody is asked, without its end there is no record.
    """

    def __init__(self, home: Path, plan: RunPlan, control: Control, *, journal: HubJournal) -> None:
        self._folder = RunFolder(home, plan.run)
        self._plan = TrainingPlan.decode((self._folder.path / "proposed.json").read_bytes())
        self._control = control
        self._journal = journal
        self._decision: Decision | None = None
        self._code = ""
        self._opened = False
        self._announcements: dict[str, str] = {}
        self._alignment: dict[str, Any] = {}
        self._sizes: dict[str, dict[str, int]] = {}
        self._metrics: dict[str, Any] = {}
        self._parts: dict[str, Any] = {}
        self._learned: dict[str, dict[str, Any]] = {}
        self._spending = False

    def before(self, phase: str, nodes: Sequence[str]) -> Mapping[str, str]:
        """Prepare the hub for a phase; return each partner's body (JSON text)."""
        body: dict[str, Any] = {}
        match phase:
            case "plan":
                self._propose(nodes)
                body = {"plan": self._plan.encode().decode(), "wire": offer()}
            case "align":
                self._start(phase, {})
                body = {"announcements": self._announcements}
            case "train" | "validate" | "score":
                if HUB in self._plan.compute:
                    self._start(phase, {"rows": self._rows, **self._sizes})
                body = dict(self._sizes)
            case "learn":
                return {name: json.dumps(self._learning(name)) for name in nodes}
            case "encode":
                return {name: json.dumps(self._learned.get(name, {})) for name in nodes}
            case "prepare":
                self._spending = True
                if HUB in self._plan.compute and self._plan.pools:
                    self._start(phase, {"rows": self._rows})
            case _:
                pass
        return dict.fromkeys(nodes, json.dumps(body))

    def after(self, phase: str, bodies: Mapping[str, str]) -> None:
        """Take in the reply bodies of the partners, all of which are done."""
        values = {name: _object(name, body) for name, body in bodies.items()}
        match phase:
            case "plan":
                for name, value in values.items():
                    _check_version(name, value)
                self._announcements = {
                    name: _text(value, "announcement") for name, value in values.items()
                }
            case "align":
                for name in values:
                    _whole(values, name, "total")
                self._alignment = values
            case "prepare":
                owners = sorted(partner.name for partner in self._plan.owners)
                self._sizes = {
                    "widths": {name: _whole(values, name, "width") for name in owners},
                    "counts": _counts(values, self._plan.label_holders),
                }
            case "learn":
                self._learned = {name: value for name, value in values.items() if value}
            case "encode":
                for name in self._learned:
                    if _whole(values, name, "width") != self._sizes["widths"][name]:
                        raise MalformedMessageError(f"reply of {name}: another width than before")
            case "validate" | "score":
                self._measured(values)
            case "finish":
                for name, value in values.items():
                    check_releases(name, value)
                    charge_of(self._plan, name, value["releases"])
                self._parts = values

    def _start(self, phase: str, terms: dict[str, Any]) -> None:
        """Start the hub's own program of a phase, before any partner is asked for it."""
        self._control({"action": "start", "run": self._plan.run, "phase": phase, "terms": terms})

    def _learning(self, name: str) -> dict[str, Any]:
        """Return with which block a partner averages; nothing if with none."""
        for kind in self._plan.learners:
            neural = kind.first.encoder.neural
            if name in kind.names and neural is not None:
                return {"block": kind.name, "rounds": neural.rounds}
        return {}

    def _measured(self, values: Mapping[str, dict[str, Any]]) -> None:
        """Keep what label holders measured, each of them by name where they are several."""
        holders = self._plan.label_holders
        if len(holders) == 1:
            self._metrics |= values[holders[0]]
            return
        for name in holders:
            self._metrics[name] = self._metrics.get(name, {}) | values[name]

    def close(self, outcome: str) -> None:
        """Close the run on the relay and write the record, however the run ended."""
        traffic: dict[str, Any] = {}
        try:
            if self._opened:
                traffic = self._control({"action": "run_status", "run": self._plan.run})
                reason = f"the run is {outcome}"
                self._control({"action": "close_run", "run": self._plan.run, "reason": reason})
        finally:
            # A relay that is gone takes the traffic with it, not the record.
            self._keep(outcome, traffic)

    def _keep(self, outcome: str, traffic: Mapping[str, Any]) -> None:
        record = build_record(
            self._plan,
            outcome=outcome,
            alignment=self._alignment,
            sizes=self._sizes,
            metrics=self._metrics,
            parts=self._parts,
            traffic=traffic,
            spending=self._spending,
        )
        releases = record["privacy"]["releases"]
        self._journal.run_ended(
            self._plan,
            _outcome(outcome, releases),
            decision=self._decision,
            releases=releases,
            spending=self._spending,
            record=file_bytes(record),
            code=self._code,
        )
        self._folder.store_record(record)

    @property
    def _rows(self) -> int:
        totals = {_whole(self._alignment, name, "total") for name in self._alignment}
        if len(totals) != 1:
            raise MalformedMessageError("alignment: partners disagree about the joint table's size")
        return totals.pop()

    def _propose(self, nodes: Sequence[str]) -> None:
        """Settle the plan with the partners that are left, and open the run on the relay.

        Raises:
            NotPermittedError: agreement or policies do not permit this very plan.
        """
        for name in set(self._plan.names) - set(nodes):
            self._plan = self._plan.without(name)
        if set(self._plan.names) != set(nodes):
            raise UnsupportedParameterError("plan: its partners are not those of the run")
        self._decision = None
        try:
            self._decision = self._journal.run_started(self._plan)
        except NotPermittedError:
            self._code = NOT_PERMITTED
            raise
        self._folder.store_bytes("training.json", self._plan.encode())
        parties = [*self._plan.names, HUB]
        action = "narrow_run" if self._opened else "open_run"
        self._control({"action": action, "run": self._plan.run, "parties": parties})
        self._opened = True


def _outcome(outcome: str, releases: Mapping[str, Any]) -> Outcome:
    """Return what the log says of a run's end."""
    if outcome == State.DONE:
        return Outcome.DONE
    # What was refused after something had been released was not refused as a whole.
    refused = outcome == State.REFUSED and not any(releases.values())
    return Outcome.REFUSED if refused else Outcome.FAILED


def _counts(values: Mapping[str, Mapping[str, Any]], holders: Sequence[str]) -> dict[str, int]:
    """Return the noised counts, which label holders were told together or one made alone."""
    found = [
        {count: _whole(values, name, count) for count in ("trained", "positives")}
        for name in holders
    ]
    if any(told != found[0] for told in found):
        raise MalformedMessageError("counts: label holders disagree about what they were told")
    return found[0]


def _object(name: str, body: str) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise MalformedMessageError(f"reply of {name}: not valid JSON") from error
    if not isinstance(value, dict):
        raise MalformedMessageError(f"reply of {name}: must be an object")
    return value


def _check_version(name: str, value: Mapping[str, Any]) -> None:
    """Refuse a partner whose program is too many versions away; silence is the first version."""
    theirs = value.get("wire", "")
    try:
        require_neighbours(hub=offer(), node=theirs if isinstance(theirs, str) else "?")
    except (IncompatibleVersionError, MalformedMessageError) as error:
        raise type(error)(f"reply of {name}: {error}") from error


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise MalformedMessageError(f"reply: {name} is missing")
    return found


def _whole(values: Mapping[str, Mapping[str, Any]], name: str, field: str) -> int:
    found = values[name].get(field)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise MalformedMessageError(f"reply of {name}: {field} must be a whole number")
    return found
