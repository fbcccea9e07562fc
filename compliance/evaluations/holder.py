"""A key holder's answer to one signed request: judge it, charge it, log it, then evaluate.

Every holder does all of this by itself, the hub included: no holder takes another's word
for who asks, why, or how much. The order of the steps is the rule that keeps it right. All
that can refuse a request comes before the charge, so that a refusal costs nothing, and the
charge is on disk before a single element is evaluated, so that no answer goes unlogged.
A holder that dies between the two has charged for an answer that it did not give; the
asker sends the request again, and it is answered without a second charge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.clock import Clock
from compliance.errors import NotPermittedError, UnknownEpochError, UnknownPartnerError
from compliance.evaluations.book import Admission, EvaluationBook
from compliance.evaluations.store import EpochStore
from protocols.epoch.grants import Grant
from protocols.epoch.manifest import EpochManifest
from protocols.lookup.request import CASE_PURPOSES, NO_CASE, SignedRequest, verify_request
from protocols.oprf.errors import WrongEpochError
from protocols.oprf.messages import EvaluationAnswer
from protocols.oprf.records import KeyShare
from protocols.oprf.suite import Random, Suite
from protocols.oprf.threshold import answer_request

MAX_CLOCK_SKEW_S = 300

Enter = Callable[[bool], object]
"""Enters the answered request into the holder's log, durably; told whether it is new."""
Permit = Callable[[SignedRequest, EpochManifest], Enter]
"""Asks agreement and policies about a request; enters and raises a denial."""


def permitted_elsewhere(_request: SignedRequest, _manifest: EpochManifest) -> Enter:
    """Permit: for the hub, which decides and enters every request before it asks any holder."""
    return lambda _is_new: None


@dataclass(frozen=True, slots=True)
class HolderAnswer:
    """What a holder answers, and what it noted about the request.

    Args:
        quota: elements that the asker may have in the epoch, by the manifest.
    """

    answer: EvaluationAnswer = field(repr=False)
    admission: Admission
    request: SignedRequest
    quota: int


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """One holder's service; may be called by several threads at once.

    Args:
        identities: the pinned identity key of a partner, or None for an unknown name.
        random: the operating system's randomness in production.
        permit: asks the holder's own compliance office.
    """

    name: str
    suite: Suite
    store: EpochStore = field(repr=False)
    book: EvaluationBook = field(repr=False)
    identities: Callable[[str], Ed25519PublicKey | None] = field(repr=False)
    clock: Clock = field(repr=False)
    random: Random = field(repr=False)
    permit: Permit = field(default=permitted_elsewhere, repr=False)

    def answer(self, data: bytes) -> HolderAnswer:
        """Answer one request, or refuse it; it is charged and logged before it is answered.

        Raises:
            MalformedMessageError: no request, or an element that is not one.
            UnknownPartnerError: nobody of the asker's name is pinned here.
            InvalidProofError: the asker did not sign it.
            WrongEpochError: of another key, or of an epoch that is not served.
            NotPermittedError: the grant, the case, the time, the agreement or the policies do
                not allow it.
            UnknownEpochError: we hold no share of the epoch.
            ReplayedMessageError: its request id was used for another request.
            QuotaExhaustedError: the quota does not cover it.

        Privacy:
            Each element answered is one try at an identifier, with the shares of t - 1 more
            holders. The quota bounds the tries, and the book tells who made them and why.
        """
        now = self.clock.now()
        request = SignedRequest.decode(data)
        self._verify(request)
        manifest = self._served(request, now)
        grant = _grant(manifest, request)
        share = self._share(manifest)
        self.suite.group.check_elements(request.evaluation.blinded, "blinded elements")
        # A request that is in the book was in time when it was entered, and its answer
        # tells nothing new; its asker may have been without a line for days.
        if abs(now - request.asked_at) > MAX_CLOCK_SKEW_S and not self.book.holds(request):
            raise NotPermittedError(
                f"request of {request.asker}: asked more than {MAX_CLOCK_SKEW_S} seconds from "
                "our time; correct the clock, or sign it again"
            )
        enter = self.permit(request, manifest)
        admission = self.book.admit(request, quota=grant.quota, now=now)
        enter(not admission.repeated)
        answer = answer_request(self.suite, share, request.evaluation, self.random)
        return HolderAnswer(answer, admission, request, grant.quota)

    def _verify(self, request: SignedRequest) -> None:
        public = self.identities(request.asker)
        if public is None:
            raise UnknownPartnerError(f"{request.asker}: no such partner is pinned here")
        verify_request(public, request)

    def _served(self, request: SignedRequest, now: int) -> EpochManifest:
        """Return the manifest of the request's epoch, if it is served and meant."""
        epoch = request.evaluation.epoch
        try:
            manifest = self.store.manifest(epoch)
        except UnknownEpochError as error:
            raise WrongEpochError(
                f"request: epoch {epoch} is not known here; load the manifest in force"
            ) from error
        if request.hub != manifest.hub:
            raise NotPermittedError("request: is for another hub")
        if not manifest.serves(now):
            raise WrongEpochError(
                f"request: epoch {epoch} is not served at this time; load the manifest in force"
            )
        if request.evaluation.key_id != manifest.record.key_id:
            raise WrongEpochError(
                f"request: another key or generation of shares in epoch {epoch}; "
                "load the manifest in force"
            )
        return manifest

    def _share(self, manifest: EpochManifest) -> KeyShare:
        share = self.store.share(manifest.epoch)
        held_by = manifest.record.holders[share.index - 1]
        if held_by != self.name:
            raise UnknownEpochError(f"epoch {manifest.epoch}: the share here is that of {held_by}")
        if share.record != manifest.record:
            # The shares were refreshed between our two looks at the disk.
            raise WrongEpochError(f"epoch {manifest.epoch}: its shares have just been refreshed")
        return share


def _grant(manifest: EpochManifest, request: SignedRequest) -> Grant:
    """Return the asker's grant, if it covers the request.

    Raises:
        NotPermittedError: no grant, another purpose, or a case is missing.
    """
    grant = manifest.askers.get(request.asker)
    if grant is None:
        raise NotPermittedError(f"{request.asker}: has no grant in epoch {manifest.epoch}")
    if request.purpose not in grant.purposes:
        raise NotPermittedError(
            f"{request.asker}: its grant does not cover the purpose {request.purpose}"
        )
    if request.purpose in CASE_PURPOSES and request.case == NO_CASE:
        raise NotPermittedError(f"request: the purpose {request.purpose} needs a case")
    return grant
