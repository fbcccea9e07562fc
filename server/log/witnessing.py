"""Asking the witnesses for their cosignatures, all at once.

    hub -> witness   old 0 or what it last cosigned, the proof from there, the checkpoint
    witness -> hub   200 and its lines; 409 and its size: asked again from there

Anything but 200 with a signature that verifies is "not cosigned". A witness that says that we
contradict ourselves, or that has seen more of our log than we have, is an alarm (`outcomes`).
Neither stops the log: what is published needs the quorum, and a fork will not find it.

A witness that is away costs the others nothing: with a quorum at hand the rest have `GRACE_S`
more, and what comes later is dropped. Nothing is held here that an append waits for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from time import monotonic

from compliance.clock import Clock
from compliance.errors import ComplianceError
from compliance.log.alarms import LogAlarms
from compliance.log.log import Prove
from protocols.errors import ProtocolError
from protocols.link import TransportError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.errors import NotCosignedError
from protocols.tlog.note import Note, SignatureLine, VerifierKey
from protocols.tlog.policy import Policy
from protocols.tlog.witness import AddCheckpoint, read_answer
from server.log.outcomes import Exchange, Outcomes, Standing, WitnessState
from server.log.places import Place

TIMEOUT_S = 10.0
GRACE_S = 0.5
# The size it told may be old when we ask again, if another process of ours asks as well.
_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class AskedWitness:
    """A witness, its keys, and where it is asked."""

    name: str
    keys: tuple[VerifierKey, ...]
    place: Place


class Witnessing:
    """Asks a set of witnesses; `cosign` is what `compliance.log.Log` takes.

    Args:
        policy_of: by which the log of an origin is published; it tells when that is enough.
        size_of: how many entries the log of an origin has at this moment.
        timeout_s: within which all must have answered, repetitions included.
    """

    def __init__(
        self,
        witnesses: Sequence[AskedWitness],
        *,
        policy_of: Callable[[str], Policy],
        alarms: LogAlarms,
        size_of: Callable[[str], int],
        clock: Clock,
        timeout_s: float = TIMEOUT_S,
        grace_s: float = GRACE_S,
    ) -> None:
        self._witnesses = tuple(witnesses)
        self._policy_of = policy_of
        self._size_of = size_of
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._outcomes = Outcomes([item.name for item in witnesses], alarms, clock)
        self._known: dict[tuple[str, str], int] = {}
        # One request to a witness at a time: one that hangs holds one thread, not all.
        self._turns = {item.name: threading.Lock() for item in witnesses}
        self._pool = _pool(self._witnesses)

    def cosign(self, note: Note, prove: Prove) -> list[SignatureLine]:
        """Return the cosignatures over a signed checkpoint that came in time.

        Args:
            prove: returns the proof that the checkpoint extends the tree of a smaller size.
        """
        ends_at = monotonic() + self._timeout_s
        proofs = _Proofs(prove)
        waiting: set[Future[list[SignatureLine]]] = {
            self._pool.submit(self._ask_in_turn, witness, note, proofs, ends_at)
            for witness in self._witnesses
        }
        lines: list[SignatureLine] = []
        while waiting:
            had = len(lines)
            done, waiting = wait(waiting, max(0.0, ends_at - monotonic()), FIRST_COMPLETED)
            if not done:
                break
            lines += [line for future in done for line in future.result()]
            if len(lines) > had and self._is_enough(note, lines):
                ends_at = min(ends_at, monotonic() + self._grace_s)
        return lines

    def follow(self, witnesses: Sequence[AskedWitness]) -> None:
        """Ask these witnesses from now on; not while `cosign` runs.

        A request that still hangs is not waited for.
        """
        former, pool = self._witnesses, self._pool
        self._outcomes.follow([item.name for item in witnesses])
        for item in witnesses:
            self._turns.setdefault(item.name, threading.Lock())
        self._witnesses = tuple(witnesses)
        self._pool = _pool(self._witnesses)
        pool.shutdown(wait=False, cancel_futures=True)
        for item in former:
            item.place.close()

    def states(self) -> list[WitnessState]:
        """Return what became of the last request to each witness."""
        return self._outcomes.states()

    def alarms_open(self) -> int:
        """Return how many alarms nobody has closed."""
        return self._outcomes.alarms_open()

    def close(self) -> None:
        """Wait for requests under way, and give the connections back."""
        self._pool.shutdown(cancel_futures=True)
        for witness in self._witnesses:
            witness.place.close()

    def _is_enough(self, note: Note, lines: Sequence[SignatureLine]) -> bool:
        try:
            policy = self._policy_of(Checkpoint.parse(note.text).origin)
            policy.verify(note.with_signatures(lines))
        except ProtocolError:
            return False
        return True

    def _ask_in_turn(
        self, witness: AskedWitness, note: Note, proofs: _Proofs, ends_at: float
    ) -> list[SignatureLine]:
        """Ask one witness and take down what became of it; raises nothing."""
        turn = self._turns[witness.name]
        if not turn.acquire(blocking=False):
            return []  # the request before still hangs; its outcome is taken down there
        try:
            return self._ask(witness, note, proofs, ends_at)
        except TransportError as error:
            self._outcomes.tell(witness.name, Standing.AWAY, str(error))
        except (ProtocolError, ComplianceError, OSError, RuntimeError) as error:
            # One witness must not keep the others' cosignatures from being used.
            self._outcomes.tell(witness.name, Standing.REFUSED, str(error))
        finally:
            turn.release()
        return []

    def _ask(
        self, witness: AskedWitness, note: Note, proofs: _Proofs, ends_at: float
    ) -> list[SignatureLine]:
        checkpoint = Checkpoint.parse(note.text)
        known = self._known.get((witness.name, checkpoint.origin), 0)
        old = known if known <= checkpoint.size else 0
        for _ in range(_ATTEMPTS):
            request = AddCheckpoint(old, proofs.of(old), note).encode()
            left_s = ends_at - monotonic()
            if left_s <= 0:
                raise TransportError("no answer in time", retryable=True)
            answer = witness.place.ask(request, left_s)
            try:
                lines = read_answer(
                    answer.status, answer.content_type, answer.body, note=note, keys=witness.keys
                )
            except NotCosignedError as error:
                exchange = Exchange(witness.name, checkpoint, request, answer)
                if not self._goes_on(exchange, error, old):
                    return []
                old = error.known_size or 0
                continue
            self._known[witness.name, checkpoint.origin] = checkpoint.size
            self._outcomes.cosigned(witness.name, checkpoint)
            return lines
        text = f"answered {_ATTEMPTS} times with another size"
        self._outcomes.tell(witness.name, Standing.REFUSED, text)
        return []

    def _goes_on(self, exchange: Exchange, error: NotCosignedError, old: int) -> bool:
        """Take down a refusal; tell whether to ask again from the size that it names."""
        name, known = exchange.witness, error.known_size
        if error.suspects_fork:
            self._outcomes.contradicted(exchange)
        elif known is None or known == old:
            self._outcomes.tell(name, Standing.REFUSED, str(error))
        elif known <= exchange.checkpoint.size:
            return True
        elif self._size_of(exchange.checkpoint.origin) >= known:
            # Another process of the hub signed and asked after this checkpoint was made.
            text = f"has cosigned size {known} already"
            self._outcomes.tell(name, Standing.OVERTAKEN, text)
        else:
            self._outcomes.fell_behind(exchange, known)
        return False


def _pool(witnesses: Sequence[AskedWitness]) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, len(witnesses)), thread_name_prefix="witnessing")


class _Proofs:
    """The proofs to one checkpoint, each made once: the tree is read by one thread at a time."""

    def __init__(self, prove: Prove) -> None:
        self._prove = prove
        self._lock = threading.Lock()
        self._made: dict[int, tuple[bytes, ...]] = {}

    def of(self, old: int) -> tuple[bytes, ...]:
        """Return the proof from a size; from 0 there is none."""
        with self._lock:
            if old not in self._made:
                self._made[old] = tuple(self._prove(old)) if old else ()
            return self._made[old]
