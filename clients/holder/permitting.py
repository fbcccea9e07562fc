"""The holder's own word on each act: agreement and policies are asked here, and entered here.

The hub has decided the same request under the same agreement. It is decided again, because
a holder takes nobody's word for what is permitted, and entered again in this node's own log,
against which the hub's log can be held.
"""

from __future__ import annotations

from collections.abc import Callable

from compliance.agreement.coverage import Epoch, Lookup
from compliance.errors import ComplianceError
from compliance.evaluations.holder import Enter
from compliance.office.about import About
from compliance.office.office import Office
from compliance.policy.actors import Facts, hour_at
from compliance.policy.decision import Decision
from protocols.epoch.manifest import EpochManifest
from protocols.epoch.setup import KeygenTerms
from protocols.lookup.request import NO_CASE, SignedRequest
from protocols.tlog.entry import Verb


class Permitting:
    """Decides and enters what the holder does with its share; for any number of threads.

    Args:
        standing: what stands against it at this node, such as a pause; asked every time.
    """

    def __init__(
        self, office: Office, standing: Callable[[], ComplianceError | None] = lambda: None
    ) -> None:
        self._office = office
        self._standing = standing

    def evaluation(self, request: SignedRequest, manifest: EpochManifest) -> Enter:
        """Decide whether a request is answered; see `compliance.evaluations.holder.Permit`.

        Raises:
            NotPermittedError: agreement or policies stand against it; that is entered.
            PausedError, LeftError: this node answers nothing; that is entered.
            StorageError, LogCorruptError: the log or the policies cannot be used.
        """
        office = self._office
        about = About(
            Verb.CONSULT,
            f"epoch-{manifest.epoch}/{request.purpose.replace('_', '-')}",
            recipients=(request.asker,),
            count=request.count,
            subject=f"request {request.digest.hex()}",
            case="" if request.case == NO_CASE else request.case.hex(),
            once=True,
        )
        decision = office.permit(
            "answer_evaluation",
            about,
            to=request.asker,
            facts=Facts(
                hour=hour_at(office.clock.now()),
                channel=request.purpose.value,
                case_present=request.case != NO_CASE,
            ),
            question=Lookup(request.asker, request.purpose),
        )
        self._check_standing(decision, about)
        return lambda is_new: office.enter(decision, about, is_new=is_new)

    def share(self, terms: KeygenTerms) -> None:
        """Decide whether we take part in a key set-up, and enter that we do.

        Raises:
            NotPermittedError: agreement or policies stand against it; that is entered.
        """
        office = self._office
        about = About(
            Verb.ALTER,
            f"epoch-{terms.epoch}/key",
            recipients=tuple(name for name in terms.holders if name != office.name),
            document=terms.digest,
            subject=f"set-up {terms.digest.hex()}",
            once=True,
        )
        decision = office.permit("hold_share", about, question=Epoch(terms))
        self._check_standing(decision, about)
        office.enter(decision, about)

    def _check_standing(self, decision: Decision, about: About) -> None:
        if (found := self._standing()) is not None:
            self._office.enter_refusal(decision, about, found.code)
            raise found
