"""Agreements as they are kept: every version, signature and revocation, and none is rewritten.

    <digest>.json               the document in canonical form
    <digest>.<party>.signature  one party's signature, hexadecimal
    <digest>.<party>.revocation one party's revocation, canonical form
    profiles/<digest>.json      the profiles that documents name
    kept/<signature or revocation>  when it was kept, for deciding again (see `history`)

A directory, or another shelf, holds one series. Documents are written whole and durably before
a method returns; several processes may read while one writes. What is read is verified: the
document against its name, the signatures against the pinned keys, so that whoever can write
here can end an agreement by damaging it, and cannot make one.

Which version is in force when, `standing` says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.agreement.document import Agreement
from compliance.agreement.history import History
from compliance.agreement.profile import Profile, profile_digest
from compliance.agreement.revocation import MAX_CLOCK_SKEW_S, Revocation, verify_revocation
from compliance.agreement.signing import SignedAgreement, verified_signers, verify_agreement
from compliance.agreement.standing import State, Version, check_succession
from compliance.errors import LogCorruptError, NotPermittedError
from compliance.shelf import Shelf, Stamp, shelf_of
from protocols.errors import MalformedMessageError, ProtocolError
from protocols.lookup.signing import SIGNATURE_SIZE

__all__ = ["AgreementStore", "State", "Version"]

_DIGITS = 64
_KEPT = "kept"
_TIME = re.compile(rb"[0-9]{1,12}", re.ASCII)
_DOCUMENT = re.compile(r"[0-9a-f]{64}\.json", re.ASCII)


@dataclass(slots=True)
class AgreementStore:
    """The agreements of one series on one shelf.

    Args:
        place: a shelf, or the directory that is one.
        identities: pinned identity keys of all parties, our own among them.
    """

    place: Path | Shelf
    identities: Mapping[str, Ed25519PublicKey] = field(repr=False)
    # What was read, and how the directory and the pinned keys were when it was: reading and
    # verifying everything for each decision would cost more than the decision.
    _known: tuple[object, dict[bytes, Version]] = field(default=(None, {}), repr=False)
    # The same for each version, so that one more signature costs no reading of all the others.
    _read_at: dict[bytes, tuple[object, Version]] = field(default_factory=dict, repr=False)
    _history: tuple[object, History] = field(default=(None, History({}, {})), repr=False)

    @property
    def shelf(self) -> Shelf:
        """Return where the documents are kept."""
        return shelf_of(self.place)

    @property
    def directory(self) -> Path:
        """Return the directory of a node's own, which is a shelf of files."""
        if isinstance(self.place, Path):
            return self.place
        raise TypeError("directory: what is kept here lies in no directory")

    def keep(
        self, signed: SignedAgreement, *, profile: bytes | None = None, now: int | None = None
    ) -> bytes:
        """Keep a version with the signatures that it has; returns its hash.

        Args:
            profile: the file of the profile that it names, kept beside it.
            now: noted beside each new signature, so that earlier decisions can be made again.

        Raises:
            InvalidProofError: a signature does not hold; nothing was written.
            NotPermittedError: it belongs to another series than those here.
        """
        agreement = verify_agreement(signed, self.identities, draft=True)
        digest = agreement.digest
        for version in self.versions().values():
            other = version.agreement
            # A draft binds nobody, and one of another series must not keep this one out.
            if version.is_whole and (other.name, other.hub) != (agreement.name, agreement.hub):
                raise NotPermittedError(
                    f"agreement: is of the series {agreement.name}, here is {other.name}; "
                    "keep it in a directory of its own"
                )
        if profile is not None:
            self._keep_profile(profile, agreement)
        self._write(f"{digest.hex()}.json", agreement.encode())
        for name, signature in signed.signatures.items():
            self._keep_signature(agreement, name, signature, now)
        return digest

    def keep_signature(
        self, digest: bytes, party: str, signature: bytes, *, now: int | None = None
    ) -> bool:
        """Keep one party's signature, as `keep` does; returns whether it was not here before.

        Raises:
            InvalidProofError: it does not hold. NotPermittedError: there is none of this hash.
        """
        signed = SignedAgreement(self._read(digest), {party: signature})
        agreement = verify_agreement(signed, self.identities, draft=True)
        return self._keep_signature(agreement, party, signature, now)

    def keep_revocation(self, revocation: Revocation, *, now: int) -> bool:
        """Keep a revocation, also of a draft; returns whether it was not here before.

        The agreement has ended when this returns.

        Raises:
            InvalidProofError: not signed by the party. NotPermittedError: no party of an
                agreement that is here, or dated in the future.
        """
        agreement = self.load(revocation.agreement).agreement
        verify_revocation(revocation, agreement)
        if revocation.at > now + MAX_CLOCK_SKEW_S:
            raise NotPermittedError("revocation: dated in the future; correct the clock")
        name = _name(agreement.digest, revocation.party, "revocation")
        self._note(name, now)
        # The first word of a party counts; a second adds nothing.
        return self.shelf.put_new(name, revocation.encode())

    def load(self, digest: bytes) -> SignedAgreement:
        """Return a version with its signatures.

        Raises:
            NotPermittedError: there is none of this hash.
            LogCorruptError: the files are not what was written.
        """
        agreement = self._read(digest)
        found = {party: self._signature(digest, party) for party in agreement.names}
        return SignedAgreement(
            agreement, {party: item for party, item in found.items() if item is not None}
        )

    def digests(self) -> tuple[bytes, ...]:
        """Return the hashes of all versions, the oldest version first."""
        found = sorted(
            self.versions().items(), key=lambda item: (item[1].agreement.version, item[0])
        )
        return tuple(digest for digest, _ in found)

    def profile_bytes(self, agreement: Agreement) -> bytes | None:
        """Return the file of the profile that an agreement names, or None; not verified."""
        return self.shelf.get(_profile(agreement.profile.digest))

    def profile(self, agreement: Agreement) -> Profile:
        """Return the profile that an agreement names.

        Raises:
            NotPermittedError: it is not here. LogCorruptError: it is damaged.
        """
        data = self.profile_bytes(agreement)
        if data is None:
            raise NotPermittedError(
                f"profile: the edition of {agreement.profile.id} that the agreement names is "
                "not here; take it from another party"
            )
        name = f"{agreement.profile.digest.hex()}.json"
        try:
            found = Profile.parse(data)
        except MalformedMessageError as error:
            raise LogCorruptError(f"{name}: {error}") from error
        if found.digest != agreement.profile.digest:
            raise LogCorruptError(f"{name}: is not the profile of its name; restore it")
        return found

    def revocations(self, digest: bytes) -> tuple[Revocation, ...]:
        """Return the revocations of a version.

        Raises:
            LogCorruptError: one is damaged; until it is restored the version counts for nothing.
        """
        agreement, start = self._read(digest), f"{digest.hex()}."
        found = []
        for name in self.shelf.names():
            if not (name.startswith(start) and name.endswith(".revocation")):
                continue
            try:
                revocation = Revocation.decode(self.shelf.get(name) or b"")
                verify_revocation(revocation, agreement)
            except (ProtocolError, NotPermittedError) as error:
                raise LogCorruptError(f"{name}: {error}; restore the file") from error
            found.append(revocation)
        return tuple(found)

    def state(self, digest: bytes, now: int) -> State:
        """Tell how a version stands at `now`.

        Raises:
            LogCorruptError: its files, or those of another version, are damaged.
        """
        versions = self.versions()
        if digest not in versions:
            raise NotPermittedError(f"agreement: {digest.hex()[:12]} is not here")
        return versions[digest].state(versions.values(), now)

    def states_then(self, digest: bytes, at: int, used: Mapping[bytes, int]) -> tuple[State, State]:
        """Tell how a version stood at a moment by what was kept here then; see `History.states`.

        Raises:
            NotPermittedError: it is not here. LogCorruptError: files are damaged.
        """
        history = self._history_of()
        if digest not in history.versions:
            raise NotPermittedError(f"agreement: {digest.hex()[:12]} is not here")
        return history.states(digest, at, used)

    def in_force(self, now: int) -> Agreement | None:
        """Return the version in force at `now`, or None.

        Raises:
            NotPermittedError: two are, which the parties have to settle by revoking one.
            LogCorruptError: files are damaged.
        """
        versions = self.versions().values()
        found = [
            version.agreement
            for version in versions
            if version.state(versions, now) is State.IN_FORCE
        ]
        if len(found) > 1:
            raise NotPermittedError(
                f"agreement: {found[0].digest.hex()[:12]} and {found[1].digest.hex()[:12]} are "
                "both in force; revoke one"
            )
        return found[0] if found else None

    def fingerprint(self) -> str:
        """Name what is on disk and which keys are pinned, without reading any of it."""
        return sha256(repr(self._stamp()).encode()).hexdigest()

    def check_succession(self, agreement: Agreement, now: int) -> None:
        """Return only if an agreement could be in force without another one beside it.

        Raises:
            NotPermittedError: names the one that would be in force at the same time.
        """
        check_succession(agreement, self.versions().values(), now)

    def versions(self) -> Mapping[bytes, Version]:
        """Return all versions by hash, read again where anything on disk or any key is another.

        Raises:
            LogCorruptError: files are damaged.
        """
        keys, files = self._stamp()
        seen, known = self._known
        if (keys, files) == seen:
            return known
        by_version: dict[str, list[Stamp]] = {}
        for file in files:
            by_version.setdefault(file[0][:_DIGITS], []).append(file)
        former, known = self._read_at, {}
        read: dict[bytes, tuple[object, Version]] = {}
        for name, _ in files:
            if _DOCUMENT.fullmatch(name):
                digest, stamp = bytes.fromhex(name[:_DIGITS]), (keys, by_version[name[:_DIGITS]])
                kept = former.get(digest)
                found = kept if kept and kept[0] == stamp else (stamp, self._version(digest))
                read[digest], known[digest] = found, found[1]
        self._read_at, self._known = read, ((keys, files), known)
        return known

    def _version(self, digest: bytes) -> Version:
        signed = self.load(digest)
        signers = verified_signers(signed, self.identities)
        if not signed.is_draft and len(signers) < len(signed.agreement.parties):
            try:
                verify_agreement(signed, self.identities)
            except ProtocolError as error:
                raise LogCorruptError(f"{digest.hex()[:12]}: {error}") from error
        return Version(signed, signers, self.revocations(digest))

    def _stamp(self) -> tuple[object, list[Stamp]]:
        keys = tuple((name, key.public_bytes_raw()) for name, key in self.identities.items())
        return keys, list(self.shelf.stamps())

    def _read(self, digest: bytes) -> Agreement:
        name = f"{digest.hex()}.json"
        data = self.shelf.get(name)
        if data is None:
            raise NotPermittedError(
                f"agreement: {digest.hex()[:12]} is not here; take it from another party"
            )
        try:
            agreement = Agreement.decode(data)
        except MalformedMessageError as error:
            raise LogCorruptError(f"{name}: {error}") from error
        if agreement.digest != digest:
            raise LogCorruptError(f"{name}: is not the agreement of its name; restore it")
        return agreement

    def _keep_profile(self, data: bytes, agreement: Agreement) -> None:
        if profile_digest(data) != agreement.profile.digest:
            raise NotPermittedError("profile: is another edition than the agreement names")
        # The hash is over the content: another spelling of the same profile is no other one.
        if not self.shelf.put_new(_profile(agreement.profile.digest), data):
            self.profile(agreement)

    def _keep_signature(
        self, agreement: Agreement, party: str, signature: bytes, now: int | None
    ) -> bool:
        """Write a verified signature, unless the party has signed already: one is enough."""
        kept = self._signature(agreement.digest, party)
        if kept is not None and party in verified_signers(
            SignedAgreement(agreement, {party: kept}), self.identities
        ):
            return False
        name = _name(agreement.digest, party, "signature")
        self._note(name, now)
        self._write(name, signature.hex().encode())
        return True

    def _note(self, name: str, now: int | None) -> None:
        """Note when a document is kept that is not here yet.

        The note comes first, and is written anew where a crash left it without its document:
        it never says an earlier time than that from which the document counted.
        """
        if now is not None and self.shelf.get(name) is None:
            self.shelf.put(f"{_KEPT}/{name}", b"%d" % now)

    def _history_of(self) -> History:
        """Return all versions and notes, read again where anything on disk or any key changed."""
        stamp, versions = self._stamp(), self.versions()
        if self._history[0] == stamp:
            return self._history[1]
        kept = {}
        for name in self.shelf.names(_KEPT):
            data = self.shelf.get(name) or b""
            if not _TIME.fullmatch(data):
                raise LogCorruptError(f"{name}: not a time; restore the file")
            kept[name.removeprefix(f"{_KEPT}/")] = int(data)
        found = History(versions, kept)
        self._history = stamp, found
        return found

    def _signature(self, digest: bytes, party: str) -> bytes | None:
        name = _name(digest, party, "signature")
        data = self.shelf.get(name)
        if data is None:
            return None
        try:
            found = bytes.fromhex(data.decode("ascii"))
        except ValueError as error:
            raise LogCorruptError(f"{name}: not a signature; restore the file") from error
        if len(found) != SIGNATURE_SIZE:
            raise LogCorruptError(f"{name}: not a signature; restore the file")
        return found

    def _write(self, name: str, data: bytes) -> None:
        if not self.shelf.put_new(name, data) and self.shelf.get(name) != data:
            raise LogCorruptError(f"{name}: exists with other content; restore it")


def _profile(digest: bytes) -> str:
    return f"profiles/{digest.hex()}.json"


def _name(digest: bytes, party: str, kind: str) -> str:
    return f"{digest.hex()}.{party}.{kind}"
