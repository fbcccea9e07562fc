"""Answering blinded batches: our own share, enough other holders, one signed receipt.

    asker -> hub      SignedRequest
    hub              checks that caller and asker are one, asks agreement and policies, and
                     looks whether the quota covers it
    hub, others      each checks, charges and logs by itself, then evaluates; all at once
    hub              enters it in its audit log while the others are at work
    hub -> asker      Reply: threshold answers, receipt

A holder that cannot be reached, refuses or answers something else is replaced by the next.
Nothing is charged twice when a request is sent again: every holder knows its id.

No reply leaves before its entry is durable, and no refusal either: where the log cannot be
written there is no answer. A hub that dies between charge and entry, or between entry and
reply, is sent the request again: it charges nothing, and enters what is not yet entered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.clock import Clock
from compliance.errors import (
    ComplianceError,
    LogCorruptError,
    NotPermittedError,
    QuotaExhaustedError,
    UnknownEpochError,
)
from compliance.evaluations.book import EvaluationBook
from compliance.evaluations.holder import HolderAnswer, KeyHolder
from compliance.evaluations.store import EpochStore
from compliance.log.errors import StorageError
from compliance.operation.observing import UNOBSERVED, Evaluation, Observes
from compliance.policy.decision import Decision
from protocols.epoch.manifest import EpochManifest
from protocols.errors import MalformedMessageError, ProtocolError
from protocols.link import TransportError
from protocols.lookup.receipt import Reply, sign_receipt
from protocols.lookup.request import SignedRequest
from protocols.oprf.errors import TooFewHoldersError, WrongEpochError
from protocols.oprf.messages import EvaluationAnswer
from server.log.journal import HubJournal
from server.lookup.asking import Asked, Asking, Asks, Holders
from server.standing.registry import HolderRefusedError

# A holder on the same continent answers one element in some milliseconds; 10,000 elements
# take a core less than a second.
ASK_TIMEOUT_S = 5.0
SLOWEST_ELEMENTS_PER_S = 2_000
# A holder that failed is asked last for a while, so that not every lookup waits for it.
SHUN_S = 30.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What an asker has used of its quota in an epoch; `resets_at` in Unix seconds."""

    epoch: int
    quota: int
    used: int
    resets_at: int
    period_s: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply, and what is left of the quota after it."""

    reply: Reply
    usage: Usage


class Evaluations:
    """Answers signed requests; `answer` may be called by several threads at once.

    Args:
        journal: the hub's audit log, which has every answer and refusal before the caller.
        identity: the hub's key, under which receipts are signed.
        ask_timeout_s: how long another holder may take, beside the time for its elements.
    """

    def __init__(
        self,
        *,
        holder: KeyHolder,
        holders: Holders,
        store: EpochStore,
        book: EvaluationBook,
        journal: HubJournal,
        identity: Ed25519PrivateKey,
        clock: Clock,
        ask_timeout_s: float = ASK_TIMEOUT_S,
        observer: Observes = UNOBSERVED,
    ) -> None:
        self._observer = observer
        self._holder = holder
        self._holders = holders
        self._store = store
        self._book = book
        self._journal = journal
        self._identity = identity
        self._clock = clock
        self._ask_timeout_s = ask_timeout_s
        self._failed_at: dict[str, float] = {}
        self._asking = Asking(holders)

    @property
    def holder_name(self) -> str:
        """The name under which the hub itself holds a share."""
        return self._holder.name

    def close(self) -> None:
        """Wait for the asks in flight and end the threads."""
        self._asking.close()

    def answer(self, caller: str, request: SignedRequest) -> Answered:
        """Evaluate a request with the threshold of holders and sign the receipt.

        Raises:
            NotPermittedError: `caller` is not the asker, agreement or policies do not permit
                it, or a holder's rules say no.
            MalformedMessageError: an element is refused; nothing was charged.
            QuotaExhaustedError: of the hub's own book.
            HolderRefusedError: too few others answered, and one of them refused.
            TooFewHoldersError: too few others could be reached.
            StorageError, LogCorruptError: book or log cannot be written.
        """
        with self._observer.during(Evaluation(request.purpose.value, request.count)):
            return self._answer(caller, request)

    def _answer(self, caller: str, request: SignedRequest) -> Answered:
        manifest = self._checked(caller, request)
        # The hub's own share needs no second decision: it answers for this one alone.
        decision = self._journal.permit_evaluation(caller, request, manifest)
        try:
            self._require_quota(manifest, request)
            own, others = self._ask_all(decision, manifest, request)
        except (StorageError, LogCorruptError, TooFewHoldersError):
            raise
        except (ProtocolError, ComplianceError, HolderRefusedError) as error:
            # A code that comes from elsewhere is another organisation's word: it stays out.
            code = "holder_refused" if isinstance(error, HolderRefusedError) else error.code
            self._journal.evaluation_refused(caller, request, manifest, code, decision)
            raise
        return self._conclude(manifest, request, own, others)

    def usage(self, caller: str) -> Usage:
        """Return what a caller has used of the hub's own quota in the epoch in force.

        Raises:
            NotPermittedError: it has no grant in this epoch.
            UnknownEpochError: no epoch is in force.
        """
        manifest = self._store.current(self._clock.now())
        if caller not in manifest.askers:
            raise NotPermittedError("quota: no grant in this epoch")
        return _usage(manifest, caller, self._book.used(manifest.epoch, caller))

    def usage_of(self, request: SignedRequest) -> Usage:
        """Return what the asker of a request has used of its quota in that epoch."""
        manifest = self._manifest_of(request)
        return _usage(manifest, request.asker, self._book.used(manifest.epoch, request.asker))

    def _checked(self, caller: str, request: SignedRequest) -> EpochManifest:
        """Return the manifest for a request of the caller's own; enter what is none."""
        try:
            _require_asker(caller, request)
            return self._manifest_of(request)
        except (NotPermittedError, WrongEpochError) as error:
            try:
                manifest = self._store.manifest(request.evaluation.epoch)
            except UnknownEpochError:
                manifest = None
            self._journal.evaluation_refused(caller, request, manifest, error.code)
            raise

    def _manifest_of(self, request: SignedRequest) -> EpochManifest:
        try:
            return self._store.manifest(request.evaluation.epoch)
        except UnknownEpochError as error:
            raise WrongEpochError(
                f"request: epoch {request.evaluation.epoch} is not known here"
            ) from error

    def _require_quota(self, manifest: EpochManifest, request: SignedRequest) -> None:
        """Refuse what our own book will refuse, before another holder charges for it.

        Our book has every request that was ever answered, so its quota is the first to be
        spent. It decides again, durably, when we answer.
        """
        grant = manifest.askers.get(request.asker)
        if grant is None:
            raise NotPermittedError("evaluation: no grant in this epoch")
        if self._book.used_at_least(manifest.epoch, request.asker) + request.count <= grant.quota:
            return
        used = self._book.used(manifest.epoch, request.asker)
        if used + request.count > grant.quota and not self._book.holds(request):
            raise QuotaExhaustedError(
                f"quota of {request.asker} in epoch {manifest.epoch}: {used} of {grant.quota} "
                f"used, {request.count} more asked; nothing was charged",
                used=used,
                quota=grant.quota,
            )

    def _candidates(self, manifest: EpochManifest, request: SignedRequest) -> list[str]:
        """Return the connected others, in the order in which they are to be asked.

        The same request goes to the same holder first, so that sending it again costs no
        other holder's quota.
        """
        connected = self._holders.connected()
        others = [
            name
            for name in manifest.record.holders
            if name in connected and name != self._holder.name
        ]
        first = request.request_id[0] % len(others) if others else 0
        turned = others[first:] + others[:first]
        return sorted(turned, key=self._is_shunned)

    def _ask_all(
        self, decision: Decision, manifest: EpochManifest, request: SignedRequest
    ) -> tuple[HolderAnswer, dict[str, EvaluationAnswer]]:
        """Ask as many others as are needed, the next for each that fails, and evaluate too."""
        needed = manifest.record.threshold - 1
        candidates = self._candidates(manifest, request)
        if len(candidates) < needed:
            raise TooFewHoldersError(
                f"evaluation: {len(candidates)} other holders are connected, need {needed}"
            )
        data = request.encode()
        timeout_s = self._ask_timeout_s + request.count / SLOWEST_ELEMENTS_PER_S
        waiting = iter(candidates)
        answers: dict[str, EvaluationAnswer] = {}
        failures: list[Exception] = []
        with self._asking.open(data, timeout_s) as asks:
            self._ask(asks, waiting, needed, failures)
            own = self._holder.answer(data)
            # The others are at work meanwhile, so that the disk costs the caller little.
            self._journal.evaluation_answered(
                decision, request, manifest, is_new=not own.admission.repeated
            )
            while len(answers) < needed:
                # One more for each that failed, as long as there are any.
                self._ask(asks, waiting, needed - len(answers), failures)
                if not len(asks):
                    raise self._gave_up(decision, manifest, request, failures)
                name, asked = asks.take()
                try:
                    answers[name] = self._answer_of(manifest, request, name, asked)
                except (ProtocolError, TransportError, HolderRefusedError) as error:
                    failures.append(error)
        return own, answers

    def _ask(
        self, asks: Asks, waiting: Iterator[str], wanted: int, failures: list[Exception]
    ) -> None:
        """Ask those who wait, in order, until as many asks as wanted are under way."""
        while len(asks) < wanted and (name := next(waiting, None)) is not None:
            try:
                asks.begin(name)
            except TransportError as error:
                self._failed_at[name] = monotonic()
                failures.append(error)

    def _answer_of(
        self, manifest: EpochManifest, request: SignedRequest, name: str, asked: Asked
    ) -> EvaluationAnswer:
        """Return what one holder answers; what cannot be its answer counts as its failure."""
        try:
            answer = EvaluationAnswer.decode(asked.result())
            _check_answer(manifest, request, name, answer)
        except (ProtocolError, TransportError):
            self._failed_at[name] = monotonic()
            raise
        self._failed_at.pop(name, None)
        return answer

    def _conclude(
        self,
        manifest: EpochManifest,
        request: SignedRequest,
        own: HolderAnswer,
        others: dict[str, EvaluationAnswer],
    ) -> Answered:
        usage = _usage(manifest, request.asker, own.admission.used)
        answers = {self._holder.name: own.answer, **others}
        receipt = sign_receipt(
            self._identity,
            request,
            holders=tuple(answers),
            at=self._clock.now(),
            used=usage.used,
            quota=usage.quota,
        )
        return Answered(Reply(tuple(answers.values()), receipt), usage)

    def _gave_up(
        self,
        decision: Decision,
        manifest: EpochManifest,
        request: SignedRequest,
        failures: list[Exception],
    ) -> Exception:
        """Enter that the charged request cannot be answered, and return what to tell."""
        worst = _worst(failures, manifest.record.threshold - 1)
        if isinstance(worst, TooFewHoldersError):
            self._journal.evaluation_failed(decision, request, manifest, worst.code)
        return worst

    def _is_shunned(self, name: str) -> bool:
        return monotonic() - self._failed_at.get(name, -SHUN_S) < SHUN_S


def _require_asker(caller: str, request: SignedRequest) -> None:
    if caller != request.asker:
        raise NotPermittedError("evaluation: the asker is not the caller")


def _usage(manifest: EpochManifest, asker: str, used: int) -> Usage:
    return Usage(
        manifest.epoch,
        manifest.askers[asker].quota,
        used,
        manifest.not_after,
        manifest.not_after - manifest.not_before,
    )


def _check_answer(
    manifest: EpochManifest, request: SignedRequest, name: str, answer: EvaluationAnswer
) -> None:
    """Refuse an answer of another holder, to another request, or of another length.

    Its proof is the client's to check, who needs no hub for that.
    """
    evaluation = request.evaluation
    expected = (evaluation.epoch, evaluation.key_id, evaluation.request_id)
    if (answer.epoch, answer.key_id, answer.request_id) != expected:
        raise MalformedMessageError(f"answer of {name}: to another request")
    if answer.index != manifest.record.holders.index(name) + 1:
        raise MalformedMessageError(f"answer of {name}: carries another holder's index")
    if len(answer.evaluated) != len(evaluation.blinded):
        raise MalformedMessageError(f"answer of {name}: another number of elements")


def _worst(failures: list[Exception], needed: int) -> Exception:
    """Return what the caller is told: a refusal, since trying again does not help there."""
    for failure in failures:
        if isinstance(failure, HolderRefusedError):
            return failure
    return TooFewHoldersError(
        f"evaluation: {needed} other holders must answer, {len(failures)} failed"
    )
