"""The hub's own programs in a run: joining pseudonym sets, and standing in as a compute party.

They run in the hub process, one thread each, on local endpoints of the relay. The ServerApp,
which is a process of its own, starts them and asks for their results over the control call.
The hub holds no person's data, so nothing here is charged.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from protocols.align.errors import AlignmentRefusedError
from protocols.align.messages import MAX_ROWS
from protocols.align.union import Membership, UnionRules, join_union
from protocols.errors import MalformedMessageError, ProtocolError
from protocols.link import TransportError
from protocols.program import Program, Receive, Request, Send, drive
from protocols.vertical.plan import HUB, TrainingPlan
from server.link.endpoint import LocalEndpoint
from server.link.relay import Relay
from server.training.plan import RunFolder

Result = dict[str, Any]


class Programs:
    """Answers the control requests of the ServerApp; one per hub process."""

    def __init__(self, relay: Relay, home: Path) -> None:
        self._relay = relay
        self._home = home
        self._lock = threading.Lock()
        self._results: dict[tuple[str, str], Result] = {}

    def control(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what the ServerApp asks: `start` a program, or give its `result`.

        Raises:
            MalformedMessageError: the request is none of these.
        """
        match request:
            case {"action": "start", "run": str(run), "phase": str(phase), "terms": dict(terms)}:
                self._start(run, phase, terms)
                return {}
            case {"action": "result", "run": str(run), "phase": str(phase)}:
                with self._lock:
                    return self._results.get((run, phase), {"state": "none"})
        raise MalformedMessageError("control: unknown request")

    def _start(self, run: str, phase: str, terms: dict[str, Any]) -> None:
        folder = RunFolder(self._home, run)
        plan = TrainingPlan.decode((folder.path / "training.json").read_bytes())
        make = {
            "align": _align,
            "prepare": _prepare,
            "train": _train,
            "validate": _open,
            "score": _open,
        }.get(phase)
        if make is None:
            raise MalformedMessageError("control: the hub has no program for this phase")
        # Attached before this call returns, so that no partner can arrive first and find
        # the phase without the hub.
        endpoint = self._relay.local(run, phase, deadline_s=plan.deadline_s)
        with self._lock:
            self._results[run, phase] = {"state": "running"}
        work = threading.Thread(
            target=self._work,
            args=(run, phase, endpoint, lambda: make(plan, terms)),
            name=f"{run}-{phase}",
            daemon=True,
        )
        work.start()

    def _work(
        self, run: str, phase: str, endpoint: LocalEndpoint, make: Callable[[], Program[Result]]
    ) -> None:
        try:
            with endpoint:
                result = {"state": "done"} | drive(make(), _performer(endpoint))
        except (ProtocolError, TransportError) as error:
            result = {"state": "failed", "code": error.code, "reason": str(error)}
        except Exception as error:  # noqa: BLE001  # a thread's end must be told, whatever it is
            result = {"state": "failed", "code": "internal_error", "reason": type(error).__name__}
        with self._lock:
            self._results[run, phase] = result


def _performer(endpoint: LocalEndpoint) -> Callable[[Request], bytes | None]:
    def perform(request: Request) -> bytes | None:
        match request:
            case Send(to, payload):
                endpoint.send(to, payload)
            case Receive(sender):
                return endpoint.receive(sender)
        return None

    return perform


def _align(plan: TrainingPlan, terms: dict[str, Any]) -> Program[Result]:
    del terms  # the plan says it all
    rules = UnionRules(
        parties=plan.names,
        label_holder=plan.label_holder,
        max_rows=MAX_ROWS,
        min_rows=plan.min_rows,
        membership=Membership(plan.membership),
        kinds=tuple(kind.names for kind in plan.kinds),
    )
    try:
        table = yield from join_union(rules, os.urandom)
    except (AlignmentRefusedError, MalformedMessageError) as error:
        # Every partner has been sent the reason; breaking the phase off would overtake it.
        return {"state": "failed", "code": error.code, "reason": str(error)}
    return {"table": asdict(table)}


def _prepare(plan: TrainingPlan, terms: dict[str, Any]) -> Program[Result]:
    from protocols.vertical.together import Bringing, prepare_together  # noqa: PLC0415  torch

    yield from prepare_together(
        plan=plan,
        ours=HUB,
        rows=terms["rows"],
        station=_trio(plan),
        noise=_noise,
        bringing=Bringing(),
    )
    return {}


def _train(plan: TrainingPlan, terms: dict[str, Any]) -> Program[Result]:
    from protocols.vertical.head import Inputs, train  # noqa: PLC0415  torch loads slowly

    yield from train(trio=_trio(plan), terms=_terms(plan, terms), inputs=Inputs(), noise=_noise)
    return {}


def _open(plan: TrainingPlan, terms: dict[str, Any]) -> Program[Result]:
    from protocols.vertical.head import joint_logits  # noqa: PLC0415  torch loads slowly

    head_terms = _terms(plan, terms)
    yield from joint_logits(
        trio=_trio(plan),
        terms=head_terms,
        own=None,
        mask=None,
        resolution_bits=plan.resolution_bits,
    )
    return {}


def _terms(plan: TrainingPlan, sizes: dict[str, Any]) -> Any:
    from protocols.vertical.counts import Counts  # noqa: PLC0415  torch loads slowly
    from protocols.vertical.terms import terms_of  # noqa: PLC0415

    return terms_of(plan, sizes["rows"], sizes["widths"], Counts(**sizes["counts"]))


def _trio(plan: TrainingPlan) -> Any:
    from protocols.vertical.shares import Trio  # noqa: PLC0415  torch loads slowly

    first, second, third = plan.compute
    return Trio(names=(first, second, third), ours=HUB, random=os.urandom, outsiders=plan.outsiders)


def _noise(variance: int, size: int) -> Any:
    import torch  # noqa: PLC0415  torch loads slowly

    from protocols.dp.discrete import sample_discrete_gaussian  # noqa: PLC0415

    return torch.from_numpy(sample_discrete_gaussian(variance, size, random=os.urandom))
