"""The run's state machine: one phase after the other, one message per phase and partner.

Knows no Flower, no network and no clock of its own. It asks a `PhaseGrid`, lets the hub's
`Conduct` do its part around each phase, and hands every transition to `record`, so that
whoever watches the run sees the partner, the phase and the reason of whatever went wrong.

    running -> done                        every phase was done by every partner left
    running -> refused                     a partner will not, and the plan does not go on without
    running -> failed                      a partner could not, or was silent; or the hub's own part

A run always ends: every wait has the phase's deadline. A run that ends early is still closed
at the partners that answer, so that no key and no reservation outlives it there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from compliance.errors import ComplianceError, LogCorruptError
from compliance.log.errors import StorageError
from protocols.errors import ProtocolError
from protocols.phase import DEADLINE, PEER_LOST, PHASES, PhaseReply, Status
from server.training.plan import RunPlan

HUB = "hub"
_LAST = PHASES[-1]
_WIND_UP_S = 60
# The code of a partner that was given up because another one fell out.
ABANDONED = "abandoned"
# The code of a partner that was shut out while the run went on.
REVOKED = "revoked"
# The log did not take the end of the run.
_UNENTERED = frozenset({StorageError.code, LogCorruptError.code})
# How much earlier a partner gives up than the hub, so that its reply still arrives and only
# a partner that really is silent is called so.
MARGIN_S = 10


@dataclass(frozen=True, slots=True)
class Failure:
    """No reply came from a partner; `code` and `reason` say why."""

    code: str
    reason: str


Answers = Mapping[str, PhaseReply | Failure]
IsRevoked = Callable[[str], bool]
"""Whether a partner is shut out by now; asked often, and never raises."""


def nobody_revoked(_name: str) -> bool:
    """Hold everybody for a partner."""
    return False


def revoked() -> Failure:
    """Return what stands for the answer of a partner that is shut out."""
    return Failure(REVOKED, "the partner was revoked while the run went on")


class PhaseGrid(Protocol):
    """Carries one phase to the partners and their answers back."""

    def ask(
        self, phase: str, bodies: Mapping[str, str], *, attempt: int, deadline_s: int
    ) -> Answers:
        """Send each named partner its body; return one answer for each, within the deadline.

        Once a partner has failed or refused, the others are waited for only briefly: they
        may be waiting for that partner themselves.
        """


class Conduct(Protocol):
    """The hub's own part in a kind of run; its exceptions end the run as the hub's failure."""

    def before(self, phase: str, nodes: Sequence[str]) -> Mapping[str, str]:
        """Prepare the hub for a phase; return each partner's body (JSON text)."""

    def after(self, phase: str, bodies: Mapping[str, str]) -> None:
        """Take in the reply bodies of the partners, all of which are done."""

    def close(self, outcome: str) -> None:
        """Clean up once the run has ended, in whatever way; `outcome` is the final state."""


class State(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Who refused or failed, in which phase, and why."""

    party: str
    phase: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """One attempt at one phase; `nodes` holds status, code and reason by partner."""

    phase: str
    attempt: int
    started: int
    ended: int | None = None
    seconds: float | None = None
    nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunState:
    """All that is known of a run; what `record` receives after every transition."""

    run: str
    state: State
    nodes: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    trouble: tuple[Trouble, ...] = ()
    updated: int = 0


class RunEndedError(Exception):
    """Leaves the phases; the state says how."""

    code: ClassVar[str] = "run_ended"


class Coordinator:
    """Drives one run to its end.

    Args:
        record: makes a state durable; called after every transition.
        clock: Unix seconds.
        stopwatch: monotonic seconds, for how long a phase took.
        is_revoked: such a partner ends the run, and is asked for nothing more.
    """

    def __init__(
        self,
        plan: RunPlan,
        grid: PhaseGrid,
        conduct: Conduct,
        *,
        record: Callable[[RunState], None],
        clock: Callable[[], int],
        stopwatch: Callable[[], float] = time.monotonic,
        is_revoked: IsRevoked = nobody_revoked,
    ) -> None:
        self._plan = plan
        self._grid = grid
        self._conduct = conduct
        self._record = record
        self._clock = clock
        self._stopwatch = stopwatch
        self._is_revoked = is_revoked
        self._state = RunState(plan.run, State.RUNNING, plan.nodes)

    def run(self) -> RunState:
        """Run every phase; return the final state, which has been recorded."""
        self._move()
        try:
            for phase in self._plan.phases:
                self._phase(phase)
            self._move(state=State.DONE)
        except RunEndedError:
            self._wind_up()
        except BaseException:
            # Flower stops a run by a signal in the middle of whatever we do.
            reason = "the hub stopped the run"
            trouble = Trouble(HUB, self._last_phase(), "stopped", reason)
            self._move(state=State.FAILED, trouble=(*self._state.trouble, trouble))
            self._close()
            raise
        self._close()
        return self._state

    def _close(self) -> None:
        """Let the hub clean up; a run whose end its log cannot hold has failed, though done."""
        state = self._state
        phase = self._last_phase()
        _, trouble = self._guard(phase, lambda: self._conduct.close(state.state.value))
        if trouble is not None and trouble.code in _UNENTERED:
            self._move(state=State.FAILED, trouble=(*state.trouble, trouble))

    def _last_phase(self) -> str:
        return self._state.steps[-1].phase if self._state.steps else self._plan.phases[0]

    def _phase(self, phase: str) -> None:
        """Ask for a phase until it is done, the plan's attempts are spent, or a partner refuses."""
        attempt, failed = 0, 0
        while True:
            attempt += 1
            self._check_revoked(phase)
            bodies = self._own_part(phase, lambda: self._conduct.before(phase, self._state.nodes))
            answers = self._ask(phase, bodies, attempt)
            if self._heed_refusals(phase, answers):
                # Without that partner it is another plan, which the others have not seen.
                continue
            failures = [
                _trouble(phase, name, answer)
                for name, answer in answers.items()
                if _status(answer) is Status.FAILED
            ]
            if not failures:
                break
            failed += 1
            if failed == self._plan.attempts:
                self._end(State.FAILED, _root_causes(failures))
        replies = {
            name: answer.body
            for name, answer in answers.items()
            if isinstance(answer, PhaseReply) and answer.status is Status.DONE
        }
        self._own_part(phase, lambda: self._conduct.after(phase, replies))

    def _check_revoked(self, phase: str) -> None:
        """End the run if a partner was shut out since it was asked last."""
        gone = [name for name in self._state.nodes if self._is_revoked(name)]
        if gone:
            self._end(State.FAILED, [_trouble(phase, name, revoked()) for name in gone])

    def _ask(self, phase: str, bodies: Mapping[str, str], attempt: int) -> Answers:
        missing = set(self._state.nodes) ^ set(bodies)
        if missing:
            reason = f"the hub prepared no or too many bodies: {sorted(missing)}"
            self._end(State.FAILED, [Trouble(HUB, phase, "internal_error", reason)])
        step = Step(phase, attempt, self._clock())
        earlier = self._state.steps
        self._move(steps=(*earlier, step))
        began = self._stopwatch()
        answers = self._named(
            self._grid.ask(phase, bodies, attempt=attempt, deadline_s=self._plan.deadline_s(phase))
        )
        nodes = {name: _outcome(answer) for name, answer in answers.items()}
        self._move(
            steps=(
                *earlier,
                replace(
                    step,
                    ended=self._clock(),
                    seconds=round(self._stopwatch() - began, 3),
                    nodes=nodes,
                ),
            )
        )
        return answers

    def _named(self, answers: Answers) -> Answers:
        """Name as revoked whoever failed because of that, however the failure looked from here."""
        return {
            name: revoked()
            if _status(answer) is Status.FAILED and self._is_revoked(name)
            else answer
            for name, answer in answers.items()
        }

    def _heed_refusals(self, phase: str, answers: Answers) -> bool:
        """Go on without the partners that refuse, if the plan says so; otherwise end the run.

        Returns whether anyone has gone.

        A refusal after the plan has been accepted always ends the run: the others have
        begun to work with that partner.
        """
        refusals = [
            _trouble(phase, name, answer)
            for name, answer in answers.items()
            if _status(answer) is Status.REFUSED
        ]
        if not refusals:
            return False
        gone = {trouble.party for trouble in refusals}
        left = tuple(name for name in self._state.nodes if name not in gone)
        if phase != PHASES[0] or not self._plan.goes_on_with(left):
            self._end(State.REFUSED, refusals)
        self._move(nodes=left, trouble=(*self._state.trouble, *refusals))
        return True

    def _wind_up(self) -> None:
        """Ask each partner that accepted the plan to close the run; whoever is silent is left.

        A partner that was revoked meanwhile is not asked: it would be waited for in vain.
        """
        begun = {step.phase for step in self._state.steps}
        left = [name for name in self._state.nodes if not self._is_revoked(name)]
        accepted = [name for name in left if self._accepted(name)]
        if not accepted or _LAST in begun or _LAST not in self._plan.phases:
            return
        bodies, trouble = self._guard(_LAST, lambda: self._conduct.before(_LAST, accepted))
        if trouble is not None:
            return
        deadline_s = min(_WIND_UP_S, self._plan.deadline_s(_LAST))
        replies = {}
        for name, body in bodies.items():
            answers = self._grid.ask(_LAST, {name: body}, attempt=1, deadline_s=deadline_s)
            answer = answers[name]
            if isinstance(answer, PhaseReply) and answer.status is Status.DONE:
                replies[name] = answer.body
        self._guard(_LAST, lambda: self._conduct.after(_LAST, replies))

    def _accepted(self, name: str) -> bool:
        """Whether a partner has accepted any plan of this run, and so holds keys for it."""
        steps = (step for step in self._state.steps if step.phase == PHASES[0])
        return any(step.nodes.get(name, {}).get("status") == Status.DONE for step in steps)

    def _own_part(self, phase: str, work: Callable[[], Any]) -> Any:
        result, trouble = self._guard(phase, work)
        if trouble is not None:
            self._end(State.FAILED, [trouble])
        return result

    def _guard(self, phase: str, work: Callable[[], Any]) -> tuple[Any, Trouble | None]:
        try:
            return work(), None
        except (ProtocolError, ComplianceError) as error:
            return None, Trouble(HUB, phase, error.code, str(error))
        except Exception as error:  # noqa: BLE001  # the run must end with a state, whatever it is
            reason = f"the hub's own part of the phase failed ({type(error).__name__})"
            return None, Trouble(HUB, phase, "internal_error", reason)

    def _end(self, state: State, trouble: Sequence[Trouble]) -> None:
        self._move(state=state, trouble=(*self._state.trouble, *trouble))
        raise RunEndedError(state.value)

    def _move(self, **changes: Any) -> None:
        self._state = replace(self._state, **changes, updated=self._clock())
        self._record(self._state)


def partner_deadline_s(deadline_s: int) -> int:
    """Return how long a partner may work, if the hub waits this long for its reply."""
    return max(1, deadline_s - min(MARGIN_S, deadline_s // 3))


def falls_out(answer: PhaseReply | Failure) -> bool:
    """Whether a partner's answer means that waiting for the others has lost its sense.

    A partner that ran into its own deadline was waiting for another one: that one is
    waited for until the hub's deadline, so that it can be named.
    """
    if isinstance(answer, PhaseReply) and answer.status is Status.DONE:
        return False
    return answer.code != DEADLINE


def _status(answer: PhaseReply | Failure) -> Status:
    return answer.status if isinstance(answer, PhaseReply) else Status.FAILED


def _outcome(answer: PhaseReply | Failure) -> dict[str, str]:
    return {"status": _status(answer).value, "code": answer.code, "reason": answer.reason}


def _trouble(phase: str, party: str, answer: PhaseReply | Failure) -> Trouble:
    return Trouble(party, phase, answer.code, answer.reason)


def _root_causes(failures: Sequence[Trouble]) -> Sequence[Trouble]:
    """Name the partners that failed, not those that waited for them in vain."""
    in_vain = {ABANDONED, DEADLINE, PEER_LOST}
    causes = [trouble for trouble in failures if trouble.code not in in_vain]
    return causes or failures
