"""One key set-up, from the terms to a manifest that all holders have signed.

    1  hub -> holders    terms; each judges them and announces an ephemeral key
    2  hub -> holders    all announcements; each attaches to the relay run and begins
    3  all, relayed      `oprf.keygen`, sealed between the holders; the hub is one of them
    4  holders -> hub    record and signature of the manifest

Nothing is in use before the hub has all signatures: whatever fails, the former epoch is
untouched, and a retry has a new session. Soon after the first failure the relay run is
closed, so that nobody waits for a holder that is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import asdict, dataclass
from typing import ClassVar, TypeVar

from compliance.errors import ComplianceError
from protocols.epoch.manifest import SignedManifest
from protocols.epoch.orders import ANNOUNCE, PHASE, RUN, RunOrder, SignedRecord
from protocols.epoch.setup import KeygenTerms
from protocols.errors import ProtocolError
from protocols.link import TransportError
from protocols.oprf.errors import RogueHolderError
from protocols.oprf.records import KeyShare
from protocols.program import Program, Receive, Request, Send, drive
from server.epochs.holding import HUB, Holding
from server.link.endpoint import LocalEndpoint
from server.link.relay import Relay
from server.standing.registry import HolderRefusedError, Standing

DEADLINE_S = 60.0
ANNOUNCE_TIMEOUT_S = 30.0
# The holders notice a silent one by the deadline; this only bounds what else could hang.
_SPARE_S = 30.0
VERDICT_S = 3.0
T = TypeVar("T")
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Failure:
    """Who reports what went wrong; the text names who is at fault, where that is known."""

    holder: str
    code: str
    text: str


class SetupFailedError(Exception):
    """A key set-up came to nothing; the former epoch is as it was.

    Args:
        failures: what each holder reports, the most telling first.
    """

    code: ClassVar[str] = "setup_failed"

    def __init__(self, failures: list[Failure]) -> None:
        super().__init__("; ".join(f"{item.holder}: {item.text}" for item in failures))
        self.failures = failures

    def fields(self) -> list[dict[str, str]]:
        """Return the failures for an operator."""
        return [asdict(failure) for failure in self.failures]


class KeySetup:
    """Conducts set-ups; one at a time, by one thread.

    Args:
        deadline_s: the longest that a holder may be silent.
        verdict_s: how long the others may take to their own verdict once one has failed.
    """

    def __init__(
        self,
        relay: Relay,
        standing: Standing,
        holding: Holding,
        *,
        deadline_s: float = DEADLINE_S,
        verdict_s: float = VERDICT_S,
    ) -> None:
        self._verdict_s = verdict_s
        self._relay = relay
        self._standing = standing
        self._setups = holding.setups
        self._deadline_s = deadline_s

    def run(self, terms: KeygenTerms, watch: Watch) -> SignedManifest:
        """Make or refresh a key; all holders hold a draft and have signed when this returns.

        Args:
            watch: is told step, how many holders are done with it, and how many there are.

        Raises:
            SetupFailedError: names what every holder reports.
        """
        others = [name for name in terms.holders if name != HUB]
        announcements = {HUB: _own(lambda: self._setups.announce(terms))}
        body = terms.encode()
        asks = {name: self._asker(name, ANNOUNCE, body, ANNOUNCE_TIMEOUT_S) for name in others}
        announcements |= _together(asks, lambda done: watch("announce", done, len(others)))
        order = RunOrder(terms.session, announcements)
        _, program = _own(lambda: self._setups.begin(order))
        self._relay.open_run(terms.run, terms.holders)
        try:
            records = self._make(terms, program, order, watch)
        finally:
            self._relay.close_run(terms.run, "the set-up is over")
        return _own(lambda: _collect(terms, records))

    def _make(
        self, terms: KeygenTerms, program: Program[KeyShare], order: RunOrder, watch: Watch
    ) -> dict[str, SignedRecord]:
        # Attached before anybody is asked, so that no holder finds the run without the hub.
        endpoint = self._relay.local(terms.run, PHASE, deadline_s=self._deadline_s)
        timeout_s = 2 * self._deadline_s + _SPARE_S
        acts: dict[str, Callable[[], bytes]] = {
            name: self._asker(name, RUN, order.encode(), timeout_s)
            for name in terms.holders
            if name != HUB
        }
        acts[HUB] = lambda: self._take_part(terms, program, endpoint)
        answers = _together(
            acts,
            lambda done: watch("run", done, len(acts)),
            on_failure=lambda futures: self._end_early(terms, futures),
        )
        return _own(lambda: {name: SignedRecord.decode(answer) for name, answer in answers.items()})

    def _end_early(self, terms: KeygenTerms, futures: Iterable[Future[bytes]]) -> None:
        # A dealer that is found out ends first, and accuses others: theirs are the words
        # that count, so they are let come to their own end.
        wait(futures, self._verdict_s)
        self._relay.close_run(terms.run, "another holder failed")

    def _take_part(
        self, terms: KeygenTerms, program: Program[KeyShare], endpoint: LocalEndpoint
    ) -> bytes:
        share: KeyShare | ProtocolError
        with endpoint:
            try:
                share = drive(program, lambda request: _perform(endpoint, request))
            except ProtocolError as error:
                # What we sent must still arrive: it may be what shows who is at fault.
                share = error
        if isinstance(share, ProtocolError):
            raise share
        return self._setups.sign(terms, share).encode()

    def _asker(self, name: str, kind: str, body: bytes, timeout_s: float) -> Callable[[], bytes]:
        return lambda: self._standing.ask(name, kind, body, timeout_s)


def _own(act: Callable[[], T]) -> T:
    """Do one of the hub's own steps; what it refuses fails the set-up like any holder."""
    try:
        return act()
    except (ProtocolError, ComplianceError, TransportError) as error:
        raise SetupFailedError([Failure(HUB, error.code, str(error))]) from error


def _together(
    acts: Mapping[str, Callable[[], T]],
    watch: Callable[[int], None],
    on_failure: Callable[[Iterable[Future[T]]], None] = lambda _: None,
) -> dict[str, T]:
    """Do all acts at once; the first that fails makes the others end early.

    Raises:
        SetupFailedError: one or more failed.
    """
    results: dict[str, T] = {}
    failures: list[tuple[int, Failure]] = []
    watch(0)
    with ThreadPoolExecutor(len(acts), thread_name_prefix="epoch") as pool:
        futures = {pool.submit(act): name for name, act in acts.items()}
        for future in as_completed(futures):
            name = futures[future]
            try:
                results[name] = future.result()
            except (ProtocolError, ComplianceError, TransportError, HolderRefusedError) as error:
                failures.append(_failure(name, error))
                on_failure(futures)
            else:
                watch(len(results))
    if failures:
        raise SetupFailedError(_telling(failures))
    return results


def _failure(name: str, error: Exception) -> tuple[int, Failure]:
    """Say what a failure tells: the lower the number, the nearer to its cause."""
    match error:
        case HolderRefusedError(code=code, text=text):
            lost = code == TransportError.code
            return (3 if lost else 1), Failure(name, code, text)
        case TransportError(party=party):
            # Its own stream was lost, or the hub's program names who broke off.
            return (2 if party is not None else 3), Failure(name, error.code, str(error))
        case ProtocolError() | ComplianceError():
            return (0 if name == HUB else 1), Failure(name, error.code, str(error))
    raise AssertionError("no other error is caught")


def _telling(failures: list[tuple[int, Failure]]) -> list[Failure]:
    """Leave out those who only saw that another failed, where the other has been heard."""
    best = min(rank for rank, _ in failures)
    named = max(best, 1)  # ranks up to this one tell a cause; a lost connection only if no other
    kept = [item for item in sorted(failures, key=lambda item: item[0]) if item[0] <= named]
    return [failure for _, failure in kept]


def _collect(terms: KeygenTerms, records: Mapping[str, SignedRecord]) -> SignedManifest:
    ours = records[HUB].record
    for name, found in records.items():
        if found.record != ours:
            raise RogueHolderError(f"{name}: signed another record than we hold")
    signatures = {name: found.signature for name, found in records.items()}
    return SignedManifest(terms.manifest(ours).encode(), signatures)


def _perform(endpoint: LocalEndpoint, request: Request) -> bytes | None:
    match request:
        case Send(to, payload):
            endpoint.send(to, payload)
        case Receive(sender):
            return endpoint.receive(sender)
    return None
