"""Phases over the link instead of Flower, for benchmarks of the protocol itself.

The partners' programs, their checks and their charges are the same; only the carrier of
the few messages between phases is another. `lianfang bench` uses it, so that what it
measures is the protocol and not the start of processes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from protocols.phase import PhaseReply, PhaseRequest
from server.link.endpoint import LocalEndpoint
from server.link.relay import Relay
from server.training.coordinator import Answers, Failure

CHANNEL = "phases"


class LinkGrid:
    """Asks partners over one standing channel of the run.

    Args:
        deadline_s: how long partners may take to arrive.
    """

    def __init__(self, relay: Relay, run: str, *, deadline_s: float) -> None:
        self._attach: Callable[[], LocalEndpoint] = lambda: relay.local(
            run, CHANNEL, deadline_s=deadline_s
        )
        self._run = run
        self._endpoint: LocalEndpoint | None = None

    def ask(
        self, phase: str, bodies: Mapping[str, str], *, attempt: int, deadline_s: int
    ) -> Answers:
        """Send each named partner its body; return one answer for each."""
        endpoint = self._endpoint or self._attach()
        self._endpoint = endpoint
        answers: dict[str, PhaseReply | Failure] = {}
        for name, body in bodies.items():
            request = PhaseRequest(self._run, phase, attempt, deadline_s, body)
            endpoint.send(name, json.dumps(request.fields()).encode())
        for name in bodies:
            answers[name] = self._answer(endpoint, name)
        return answers

    def close(self) -> None:
        """Tell the partners that nothing more will be asked."""
        if self._endpoint is not None:
            self._endpoint.close()

    def _answer(self, endpoint: LocalEndpoint, name: str) -> PhaseReply | Failure:
        try:
            return PhaseReply.from_fields(json.loads(endpoint.receive(name)))
        except (TransportError, MalformedMessageError) as error:
            return Failure(error.code, str(error))
        except ValueError:
            return Failure("malformed_message", "the reply is not valid JSON")
