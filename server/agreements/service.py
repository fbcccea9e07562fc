"""The hub's copy of every agreement, to which each party adds its own signature.

What is taken in: documents that name this hub, whose parties have all joined under the keys
that the documents name, which keep the rules of their profile; signatures and revocations
that verify. Of unsigned documents a party may have so many here, and no more, so that none
fills the disk of the hub. Nothing is ever taken back, except by a revocation, which counts
at once: the store beneath is the one by which the hub decides.

A party sees the agreements that it is a party of. To anybody else they do not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import Lock

from compliance.agreement.bundle import Bundle
from compliance.agreement.conformity import check_against_profile
from compliance.agreement.document import Agreement
from compliance.agreement.profile import Profile, profile_digest, shipped_bytes
from compliance.agreement.revocation import Revocation
from compliance.agreement.signing import verify_agreement
from compliance.agreement.standing import State, Version
from compliance.agreement.store import AgreementStore
from compliance.clock import Clock
from compliance.errors import NotPermittedError
from compliance.log.errors import StorageError
from protocols.errors import UnsupportedParameterError
from server.api.errors import NotFoundError

# Versions that wait for signatures at a time, and that never got them all, by who sent them.
MAX_DRAFTS = 4
MAX_UNSIGNED = 32
_SENT = "sent"


@dataclass(frozen=True, slots=True)
class Standing:
    """How one version stands at the hub.

    Args:
        is_new: whether the act that this answers changed anything.
    """

    version: Version
    state: State
    is_new: bool = False


@dataclass(slots=True)
class Agreements:
    """The agreements that the hub keeps; for any number of threads.

    Args:
        store: pins the keys of the hub and of every partner that joined, and of nobody else.
        hub: the hub's name, as in agreements.
        alone: keeps other processes from changing them meanwhile.
    """

    store: AgreementStore
    hub: str
    clock: Clock
    alone: Callable[[], AbstractContextManager[object]] = nullcontext
    _writing: Lock = field(default_factory=Lock, repr=False)

    def listed(self, caller: str) -> list[Standing]:
        """Return the versions that the caller is a party of, the oldest first."""
        now = self.clock.now()
        known = self.store.versions()
        found = [item for item in known.values() if item.agreement.party(caller) is not None]
        found.sort(key=lambda item: (item.agreement.version, item.agreement.digest))
        return [Standing(item, item.state(known.values(), now)) for item in found]

    def bundle(self, caller: str, digest: bytes) -> Bundle:
        """Return all that is here of one version.

        Raises:
            NotFoundError: it is not here, or the caller is no party of it.
        """
        version = self._version(caller, digest)
        profile = self.store.profile_bytes(version.agreement)
        return Bundle(version.signed, version.revocations, profile)

    def take(self, caller: str, bundle: Bundle) -> Standing:
        """Keep a document with the signatures that came with it; safe to repeat.

        Raises:
            NotPermittedError: the caller is no party of it.
            UnsupportedParameterError: it is not for this hub, not between those that joined,
                against its profile, or one draft too many; the message says the cure.
            InvalidProofError: a signature does not hold; nothing was kept.
        """
        agreement = bundle.agreement
        if agreement.party(caller) is None:
            raise NotPermittedError("agreement: the caller is no party of it")
        with self._changing():
            known = self.store.versions()
            if agreement.digest not in known:
                self._check(agreement)
                profile = self._profile(bundle)
                check_against_profile(agreement, Profile.parse(profile))
                verify_agreement(bundle.signed, self.store.identities, draft=True)
                self._check_room(caller)
                self._check_signing(agreement, bundle.signed.signatures.keys())
                self.store.shelf.put_new(_note(agreement.digest, caller), b"")
                self.store.keep(bundle.signed, profile=profile, now=self.clock.now())
                return self._standing(agreement.digest, is_new=True)
            signers = known[agreement.digest].signers
            self._check_signing(agreement, bundle.signed.signatures.keys() - set(signers))
            self.store.keep(bundle.signed, now=self.clock.now())
            standing = self._standing(agreement.digest)
        return Standing(standing.version, standing.state, standing.version.signers != signers)

    def sign(self, caller: str, digest: bytes, signature: bytes) -> Standing:
        """Keep the caller's own signature; safe to repeat.

        Raises:
            NotFoundError: the version is not here, or the caller is no party of it.
            UnsupportedParameterError: it would be in force beside another one.
            InvalidProofError: it is not the caller's under the key that is pinned.
        """
        with self._changing():
            version = self._version(caller, digest)
            if caller not in version.signers:
                self._check_signing(version.agreement, {caller})
            is_new = self.store.keep_signature(digest, caller, signature, now=self.clock.now())
            return self._standing(digest, is_new=is_new)

    def revoke(self, caller: str, revocation: Revocation) -> Standing:
        """Keep the word of any party that a version has ended; it has when this returns.

        Raises:
            NotFoundError: the version is not here, or the caller is no party of it.
            NotPermittedError: dated in the future. InvalidProofError: not the party's word.
        """
        with self._changing():
            self._version(caller, revocation.agreement)
            is_new = self.store.keep_revocation(revocation, now=self.clock.now())
            return self._standing(revocation.agreement, is_new=is_new)

    def _version(self, caller: str, digest: bytes) -> Version:
        version = self.store.versions().get(digest)
        if version is None or version.agreement.party(caller) is None:
            raise NotFoundError("agreement: not here")
        return version

    def _standing(self, digest: bytes, *, is_new: bool = False) -> Standing:
        known = self.store.versions()
        version = known[digest]
        return Standing(version, version.state(known.values(), self.clock.now()), is_new)

    def _check(self, agreement: Agreement) -> None:
        """Refuse what is for another hub, or names anybody who has not joined with this key."""
        if agreement.hub != self.hub:
            raise UnsupportedParameterError(
                f"agreement.hub: this is the hub {self.hub}; correct the draft"
            )
        for party in agreement.parties:
            pinned = self.store.identities.get(party.name)
            if pinned is None or pinned.public_bytes_raw() != party.identity:
                raise UnsupportedParameterError(
                    f"agreement.parties: {party.name} has not joined this hub with this key; "
                    "let it join, or correct the draft"
                )

    def _profile(self, bundle: Bundle) -> bytes:
        """Return the profile that a document names: kept here, sent along, or our own."""
        reference = bundle.agreement.profile
        found = self.store.profile_bytes(bundle.agreement) or bundle.profile
        data = found or shipped_bytes(reference.id)
        if profile_digest(data) != reference.digest:
            raise UnsupportedParameterError(
                "agreement.profile: this edition is not at hand; send it along"
            )
        return data

    def _check_room(self, caller: str) -> None:
        now, known = self.clock.now(), self.store.versions()
        noted = set(self.store.shelf.names(_SENT))
        sent = [item for digest, item in known.items() if _note(digest, caller) in noted]
        unsigned = [item for item in sent if not item.is_whole]
        waiting = [
            item
            for item in unsigned
            if item.state(known.values(), now) is State.DRAFT and item.agreement.not_after > now
        ]
        if len(waiting) >= MAX_DRAFTS or len(unsigned) >= MAX_UNSIGNED:
            raise UnsupportedParameterError(
                f"agreement: {len(waiting)} drafts of {caller} wait for signatures; "
                "let the parties sign one, or revoke one"
            )

    def _check_signing(self, agreement: Agreement, signing: Set[str]) -> None:
        """Refuse to add signatures to what could come into force beside another version."""
        if not signing:
            return
        try:
            self.store.check_succession(agreement, self.clock.now())
        except NotPermittedError as error:
            # Told: the parties have to settle it, and see both.
            raise UnsupportedParameterError(str(error)) from error

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One change at a time, among all processes; a disk that fails is told as such."""
        with self._writing, self.alone():
            try:
                yield
            except OSError as error:
                raise StorageError("agreements: cannot be kept") from error


def _note(digest: bytes, caller: str) -> str:
    """Name the document that says who sent a document first."""
    return f"{_SENT}/{digest.hex()}.{caller}"
