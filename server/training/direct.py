"""Phases over the link instead of Flower, for benchmarks of the protocol itself.

The partners' programs, their checks and their charges are the same; only the carrier of
the few messages between phases is another. `lianfang bench` uses it, so that what it
measures is the protocol and not the start of processes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic

from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from protocols.phase import LEARN, PhaseReply, PhaseRequest, done
from server.link.endpoint import LocalEndpoint
from server.link.relay import Relay
from server.training.coordinator import (
    Answers,
    Failure,
    IsRevoked,
    falls_out,
    nobody_revoked,
    partner_deadline_s,
    revoked,
)
from server.training.rounds import groups_of, is_done, round_attempt, run_rounds

# How often a partner that is waited for is looked up among the revoked.
LOOK_EVERY_S = 1.0


class LinkGrid:
    """Asks each partner over a standing channel of its own.

    One channel for all would end for all when one of them is lost, and nobody could be
    asked to close the run.

    Args:
        is_revoked: such a partner is not waited for.
    """

    def __init__(self, relay: Relay, run: str, *, is_revoked: IsRevoked = nobody_revoked) -> None:
        self._relay = relay
        self._run = run
        self._is_revoked = is_revoked
        self._endpoints: dict[str, LocalEndpoint] = {}

    def ask(
        self, phase: str, bodies: Mapping[str, str], *, attempt: int, deadline_s: int
    ) -> Answers:
        """Send each named partner its body; return one answer for each, within the deadline."""
        if phase == LEARN:
            return self._learn(bodies, attempt=attempt, deadline_s=deadline_s)
        return self._ask(phase, bodies, attempt=attempt, deadline_s=deadline_s)

    def _ask(
        self, phase: str, bodies: Mapping[str, str], *, attempt: int, deadline_s: int
    ) -> Answers:
        ends_at = monotonic() + deadline_s
        theirs_s = partner_deadline_s(deadline_s)

        def answered(name: str) -> PhaseReply | Failure:
            request = PhaseRequest(self._run, phase, attempt, theirs_s, bodies[name])
            answer = self._send(name, request) or self._answer(name, ends_at)
            if falls_out(answer):
                self._break_phase(phase, attempt, name)
            return answer

        with ThreadPoolExecutor(max(1, len(bodies))) as pool:
            return dict(zip(bodies, pool.map(answered, bodies), strict=True))

    def _learn(self, bodies: Mapping[str, str], *, attempt: int, deadline_s: int) -> Answers:
        """Do all rounds of every block; who averages with nobody has no part."""
        answers: dict[str, PhaseReply | Failure] = {name: done() for name in bodies}
        for group in groups_of(bodies):

            def ask(number: int, asked: Mapping[str, str]) -> Answers:
                return self._ask(
                    LEARN, asked, attempt=round_attempt(attempt, number), deadline_s=deadline_s
                )

            answers |= run_rounds(group, ask)
            if not all(map(is_done, answers.values())):
                break
        return answers

    def _break_phase(self, phase: str, attempt: int, name: str) -> None:
        with suppress(TransportError):  # the run is over as a whole
            self._relay.break_phase(self._run, phase, attempt, name, "it failed in the phase")

    def _send(self, name: str, request: PhaseRequest) -> Failure | None:
        try:
            if name not in self._endpoints:
                self._endpoints[name] = self._relay.local(
                    self._run, f"phases-{name}", deadline_s=request.deadline_s
                )
            self._endpoints[name].send(name, json.dumps(request.fields()).encode())
        except TransportError as error:
            return Failure(error.code, str(error))
        return None

    def _answer(self, name: str, ends_at: float) -> PhaseReply | Failure:
        payload = self._received(name, ends_at)
        if isinstance(payload, Failure):
            return payload
        try:
            return PhaseReply.from_fields(json.loads(payload))
        except MalformedMessageError as error:
            return Failure(error.code, f"the partner's reply could not be read: {error}")
        except (ValueError, AttributeError, TypeError):
            return Failure(MalformedMessageError.code, "the partner's reply is not valid JSON")

    def _received(self, name: str, ends_at: float) -> bytes | Failure:
        while True:
            look_at = min(ends_at, monotonic() + LOOK_EVERY_S)
            try:
                return self._endpoints[name].receive(name, look_at - monotonic())
            except TransportError as error:
                if self._is_revoked(name):
                    return revoked()
                if monotonic() >= ends_at:
                    return Failure("silent", "no reply within the deadline")
                if monotonic() < look_at:
                    return Failure(error.code, str(error))
