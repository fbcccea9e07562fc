"""One holder's part in making and refreshing keys: the same at the hub and at partners.

    announce   compares the terms with what was agreed before, and makes an ephemeral key
    begin      gives the party program of the set-up, sealed towards the other holders
    sign       keeps the share as a draft, durably, then signs the manifest that follows
    activate   puts the draft in use once all holders have signed

Whether its own people allow the terms is for the caller to judge before `announce`. A session
is used once: one that broke off is gone with its ephemeral key, and a retry has another.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from compliance.clock import Clock
from compliance.errors import NotPermittedError, UnknownPartnerError
from compliance.evaluations.store import EpochStore
from protocols.epoch.manifest import EpochManifest, SignedManifest, sign_manifest
from protocols.epoch.orders import PHASE, RunOrder, SignedRecord
from protocols.epoch.setup import KeygenTerms
from protocols.epoch.succession import verify_numbers
from protocols.errors import InvalidProofError, OutOfTurnError
from protocols.oprf.keygen import generate_key, refresh_share
from protocols.oprf.records import KeyShare
from protocols.oprf.suite import Random, Suite
from protocols.program import Program
from protocols.seal import Pair, announce, derive_pair, verify_announcement
from protocols.seal.program import sealed

Identities = Callable[[str], Ed25519PublicKey | None]
# Sessions that were announced and never run; the oldest is forgotten.
MAX_OPEN = 4


@dataclass(frozen=True, slots=True)
class _Open:
    terms: KeygenTerms
    ephemeral: X25519PrivateKey = field(repr=False)
    announcement: bytes


class KeySetups:
    """A holder's open set-ups; every method may be called by any thread.

    Args:
        name: under which this holder takes part.
        identity: signs announcements and manifests.
        identities: pinned keys of all holders, our own included.
    """

    def __init__(
        self,
        *,
        name: str,
        suite: Suite,
        store: EpochStore,
        identity: Ed25519PrivateKey,
        identities: Identities,
        clock: Clock,
        random: Random,
    ) -> None:
        self._name = name
        self._suite = suite
        self._store = store
        self._identity = identity
        self._identities = identities
        self._clock = clock
        self._random = random
        self._lock = threading.Lock()
        self._open: OrderedDict[bytes, _Open] = OrderedDict()

    def announce(self, terms: KeygenTerms) -> bytes:
        """Agree to the terms and announce an ephemeral key under them.

        Raises:
            NotPermittedError: we are no holder, or the terms contradict an epoch that we know.
            UnknownPartnerError: the identity of a holder is not pinned here.
            OutOfTurnError: the session was announced before, with other terms.
        """
        self._check_terms(terms)
        with self._lock:
            found = self._open.get(terms.session)
            if found is None:
                found = self._announced(terms)
                self._open[terms.session] = found
                while len(self._open) > MAX_OPEN:
                    self._open.popitem(last=False)
        if found.terms != terms:
            raise OutOfTurnError("key set-up: its session was announced with other terms")
        return found.announcement

    def begin(self, order: RunOrder) -> tuple[KeygenTerms, Program[KeyShare]]:
        """Give the program of an announced set-up; it runs on the relay run of the terms.

        Raises:
            OutOfTurnError: no such set-up was announced here, or it was begun before.
            InvalidProofError: an announcement is not by its holder and for these terms.
        """
        with self._lock:
            found = self._open.pop(order.session, None)
        if found is None:
            raise OutOfTurnError(
                "key set-up: not announced here, or broken off before; begin a new one"
            )
        terms = found.terms
        if set(order.announcements) != set(terms.holders):
            raise InvalidProofError("key set-up: announcements are not those of its holders")
        if order.announcements[self._name] != found.announcement:
            raise InvalidProofError("key set-up: our own announcement was replaced")
        pairs = {
            name: self._pair(found, name, announcement)
            for name, announcement in order.announcements.items()
            if name != self._name
        }
        return terms, sealed(self._program(terms), pairs)

    def sign(self, terms: KeygenTerms, share: KeyShare) -> SignedRecord:
        """Keep the share that came out, durably, and sign the manifest over its record."""
        manifest = terms.manifest(share.record)
        self._store.keep_draft(terms.session, share)
        return SignedRecord(share.record, sign_manifest(self._identity, manifest))

    def activate(self, signed: SignedManifest) -> EpochManifest:
        """Put the share in use that belongs to a manifest which all holders have signed.

        May be repeated. The former share of the epoch is destroyed by it.

        Raises:
            InvalidProofError: a signature is missing or wrong.
            ComplianceError: there is no share for it here, or it follows no former manifest.
        """
        holders = EpochManifest.decode(signed.manifest_bytes).record.holders
        found = {name: self._identities(name) for name in holders}
        pinned = {name: identity for name, identity in found.items() if identity is not None}
        return self._store.activate(signed, pinned)

    def _announced(self, terms: KeygenTerms) -> _Open:
        ephemeral = X25519PrivateKey.from_private_bytes(self._random(32))
        public = ephemeral.public_key().public_bytes_raw()
        announcement = announce(self._identity, terms.run, terms.digest, self._name, public)
        return _Open(terms, ephemeral, announcement)

    def _pair(self, found: _Open, name: str, announcement: bytes) -> Pair:
        terms = found.terms
        public = verify_announcement(
            self._identity_of(name), terms.run, terms.digest, name, announcement
        )
        return derive_pair(
            found.ephemeral,
            public,
            run=terms.run,
            plan_hash=terms.digest,
            ours=self._name,
            theirs=name,
            phase=PHASE,
            attempt=1,
        )

    def _program(self, terms: KeygenTerms) -> Program[KeyShare]:
        if not terms.refresh:
            return generate_key(self._suite, terms.setup(), self._name, self._random)
        share = self._store.share(terms.epoch)
        return refresh_share(self._suite, terms.setup(share.record), share, self._random)

    def _check_terms(self, terms: KeygenTerms) -> None:
        if self._name not in terms.holders:
            raise NotPermittedError(f"holders: {self._name} is not one of them")
        for name in terms.holders:
            self._identity_of(name)
        if terms.not_after <= self._clock.now():
            raise NotPermittedError("not_after: has passed already")
        if terms.refresh:
            _check_refresh(terms, self._store.manifest(terms.epoch))
        elif epochs := self._store.epochs():
            _check_next(terms, self._store.manifest(epochs[-1]))

    def _identity_of(self, name: str) -> Ed25519PublicKey:
        identity = self._identities(name)
        if identity is None:
            raise UnknownPartnerError(f"{name}: no identity key is pinned; pin it first")
        return identity


def _check_next(terms: KeygenTerms, latest: EpochManifest) -> None:
    """A new key needs a later epoch, of the same hub, that follows on the one before."""
    if terms.hub != latest.hub:
        raise NotPermittedError("hub: not the one of the epoch before")
    if terms.epoch <= latest.epoch:
        raise NotPermittedError(
            f"epoch: {terms.epoch} is not after epoch {latest.epoch}, which is known here"
        )
    if terms.epoch == latest.epoch + 1 and terms.previous != latest.digest:
        raise NotPermittedError(f"previous: not the manifest of epoch {latest.epoch} known here")
    verify_numbers(latest.contributors, terms.contributors)


def _check_refresh(terms: KeygenTerms, current: EpochManifest) -> None:
    """A refresh changes the shares and, at most, who may ask and publish."""
    if terms.previous != current.digest:
        raise NotPermittedError(
            f"previous: not the manifest of epoch {current.epoch} that is in use here"
        )
    kept = (current.hub, current.not_before, current.not_after, current.grace_s)
    if (terms.hub, terms.not_before, terms.not_after, terms.grace_s) != kept:
        raise NotPermittedError("refresh: hub and validity of the epoch must stay as they are")
    verify_numbers(current.contributors, terms.contributors)
