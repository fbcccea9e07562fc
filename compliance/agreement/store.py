"""Agreements on disk: every version, signature and revocation is kept, and none is rewritten.

    <digest>.json               the document in canonical form
    <digest>.<party>.signature  one party's signature, hexadecimal
    <digest>.<party>.revocation one party's revocation, canonical form
    profiles/<digest>.json      the profiles that documents name

A directory holds one series. Files are written whole and durably before a method returns;
several processes may read while one writes. What is read is verified: the document against
its name, the signatures against the pinned keys, so that whoever can write here can end an
agreement by damaging it, and cannot make one.

In force is a version that all parties signed, whose time has come and not run out, that no
party revoked, and that no fully signed version supersedes whose time has come. A version
that was superseded stays so, even where the one after it is revoked: old terms return only
if all parties sign them again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.agreement.document import Agreement
from compliance.agreement.profile import Profile, profile_digest
from compliance.agreement.revocation import MAX_CLOCK_SKEW_S, Revocation, verify_revocation
from compliance.agreement.signing import SignedAgreement, verify_agreement
from compliance.errors import LogCorruptError, NotPermittedError
from compliance.files import write_atomically
from protocols.errors import MalformedMessageError, ProtocolError
from protocols.lookup.signing import SIGNATURE_SIZE

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class State(StrEnum):
    """How a version stands at a moment."""

    DRAFT = "draft"
    AWAITED = "awaited"
    IN_FORCE = "in_force"
    SUPERSEDED = "superseded"
    ENDED = "ended"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class _Version:
    """One version as the disk has it, verified."""

    agreement: Agreement
    is_whole: bool
    revocations: tuple[Revocation, ...]


@dataclass(slots=True)
class AgreementStore:
    """The agreements of one series in one directory.

    Args:
        identities: pinned identity keys of all parties, our own among them.
    """

    directory: Path
    identities: Mapping[str, Ed25519PublicKey] = field(repr=False)
    # What was read, and how the directory and the pinned keys were when it was: reading and
    # verifying everything for each decision would cost more than the decision.
    _known: tuple[object, dict[bytes, _Version]] = field(default=(None, {}), repr=False)

    def keep(self, signed: SignedAgreement, *, profile: bytes | None = None) -> bytes:
        """Keep a version with the signatures that it has; returns its hash.

        Args:
            profile: the file of the profile that it names, kept beside it.

        Raises:
            InvalidProofError: a signature does not hold; nothing was written.
            NotPermittedError: it belongs to another series than those here.
        """
        agreement = verify_agreement(signed, self.identities, draft=True)
        digest = agreement.digest
        for version in self._versions().values():
            other = version.agreement
            if (other.name, other.hub) != (agreement.name, agreement.hub):
                raise NotPermittedError(
                    f"agreement: is of the series {agreement.name}, here is {other.name}; "
                    "keep it in a directory of its own"
                )
        if profile is not None:
            self._keep_profile(profile, agreement)
        self._write(self._document(digest), agreement.encode())
        for name, signature in signed.signatures.items():
            self._write(self._path(digest, name, "signature"), signature.hex().encode())
        return digest

    def keep_revocation(self, revocation: Revocation, *, now: int) -> None:
        """Keep a revocation; the agreement has ended when this returns.

        Raises:
            InvalidProofError: not signed by the party. NotPermittedError: no party of an
                agreement that is here, or dated in the future.
        """
        agreement = self.load(revocation.agreement).agreement
        verify_revocation(revocation, agreement)
        if revocation.at > now + MAX_CLOCK_SKEW_S:
            raise NotPermittedError("revocation: dated in the future; correct the clock")
        path = self._path(agreement.digest, revocation.party, "revocation")
        if not path.exists():  # the first word of a party counts; a second adds nothing
            self._write(path, revocation.encode())

    def load(self, digest: bytes) -> SignedAgreement:
        """Return a version with its signatures.

        Raises:
            NotPermittedError: there is none of this hash.
            LogCorruptError: the files are not what was written.
        """
        agreement = self._read(digest)
        signatures = {}
        for name in agreement.names:
            path = self._path(digest, name, "signature")
            if path.exists():
                signatures[name] = _signature(path)
        return SignedAgreement(agreement, signatures)

    def digests(self) -> tuple[bytes, ...]:
        """Return the hashes of all versions, the oldest version first."""
        found = sorted(
            self._versions().items(), key=lambda item: (item[1].agreement.version, item[0])
        )
        return tuple(digest for digest, _ in found)

    def profile(self, agreement: Agreement) -> Profile:
        """Return the profile that an agreement names.

        Raises:
            NotPermittedError: it is not here. LogCorruptError: it is damaged.
        """
        path = self._profile(agreement.profile.digest)
        try:
            found = Profile.parse(path.read_bytes())
        except FileNotFoundError as error:
            raise NotPermittedError(
                f"profile: the edition of {agreement.profile.id} that the agreement names is "
                "not here; take it from another party"
            ) from error
        except MalformedMessageError as error:
            raise LogCorruptError(f"{path.name}: {error}") from error
        if found.digest != agreement.profile.digest:
            raise LogCorruptError(f"{path.name}: is not the profile of its name; restore it")
        return found

    def revocations(self, digest: bytes) -> tuple[Revocation, ...]:
        """Return the revocations of a version.

        Raises:
            LogCorruptError: one is damaged; until it is restored the version counts for nothing.
        """
        agreement = self._read(digest)
        found = []
        for path in sorted(self.directory.glob(f"{digest.hex()}.*.revocation")):
            try:
                revocation = Revocation.decode(path.read_bytes())
                verify_revocation(revocation, agreement)
            except (ProtocolError, NotPermittedError) as error:
                raise LogCorruptError(f"{path.name}: {error}; restore the file") from error
            found.append(revocation)
        return tuple(found)

    def state(self, digest: bytes, now: int) -> State:
        """Tell how a version stands at `now`.

        Raises:
            LogCorruptError: its files, or those of another version, are damaged.
        """
        versions = self._versions()
        if digest not in versions:
            raise NotPermittedError(f"agreement: {digest.hex()[:12]} is not here")
        return _state(versions[digest], versions, now)

    def in_force(self, now: int) -> Agreement | None:
        """Return the version in force at `now`, or None.

        Raises:
            NotPermittedError: two are, which the parties have to settle by revoking one.
            LogCorruptError: files are damaged.
        """
        versions = self._versions()
        found = [
            version.agreement
            for version in versions.values()
            if _state(version, versions, now) is State.IN_FORCE
        ]
        if len(found) > 1:
            raise NotPermittedError(
                f"agreement: {found[0].digest.hex()[:12]} and {found[1].digest.hex()[:12]} are "
                "both in force; revoke one"
            )
        return found[0] if found else None

    def _versions(self) -> dict[bytes, _Version]:
        """Return all versions, read again if anything on disk or any pinned key is another."""
        stamp = self._stamp()
        seen, known = self._known
        if stamp != seen:
            names = [path.stem for path in self.directory.glob("*.json")]
            digests = [bytes.fromhex(name) for name in sorted(names) if _DIGEST.fullmatch(name)]
            known = {digest: self._version(digest) for digest in digests}
            self._known = stamp, known
        return known

    def _version(self, digest: bytes) -> _Version:
        signed = self.load(digest)
        if not signed.is_draft:
            try:
                verify_agreement(signed, self.identities)
            except ProtocolError as error:
                raise LogCorruptError(f"{digest.hex()[:12]}: {error}") from error
        return _Version(signed.agreement, not signed.is_draft, self.revocations(digest))

    def _stamp(self) -> object:
        keys = tuple((name, key.public_bytes_raw()) for name, key in self.identities.items())
        if not self.directory.is_dir():
            return keys
        with os.scandir(self.directory) as entries:
            files = [(entry.name, entry.stat()) for entry in entries]
        return keys, sorted(
            (name, found.st_ino, found.st_size, found.st_mtime_ns) for name, found in files
        )

    def _read(self, digest: bytes) -> Agreement:
        path = self._document(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise NotPermittedError(
                f"agreement: {digest.hex()[:12]} is not here; take it from another party"
            ) from error
        try:
            agreement = Agreement.decode(data)
        except MalformedMessageError as error:
            raise LogCorruptError(f"{path.name}: {error}") from error
        if agreement.digest != digest:
            raise LogCorruptError(f"{path.name}: is not the agreement of its name; restore it")
        return agreement

    def _keep_profile(self, data: bytes, agreement: Agreement) -> None:
        if profile_digest(data) != agreement.profile.digest:
            raise NotPermittedError("profile: is another edition than the agreement names")
        self._write(self._profile(agreement.profile.digest), data)

    def _write(self, path: Path, data: bytes) -> None:
        if path.exists():
            if path.read_bytes() != data:
                raise LogCorruptError(f"{path.name}: exists with other content; restore it")
            return
        write_atomically(path, data)

    def _document(self, digest: bytes) -> Path:
        return self.directory / f"{digest.hex()}.json"

    def _profile(self, digest: bytes) -> Path:
        return self.directory / "profiles" / f"{digest.hex()}.json"

    def _path(self, digest: bytes, name: str, kind: str) -> Path:
        return self.directory / f"{digest.hex()}.{name}.{kind}"


def _state(version: _Version, versions: Mapping[bytes, _Version], now: int) -> State:
    agreement = version.agreement
    if not version.is_whole:
        return State.DRAFT
    if any(item.applies(now) for item in version.revocations):
        return State.REVOKED
    if any(
        other.is_whole
        and other.agreement.supersedes == agreement.digest
        and other.agreement.not_before <= now
        for other in versions.values()
    ):
        return State.SUPERSEDED
    if now < agreement.not_before:
        return State.AWAITED
    return State.IN_FORCE if agreement.covers(now) else State.ENDED


def _signature(path: Path) -> bytes:
    try:
        found = bytes.fromhex(path.read_text(encoding="ascii"))
    except ValueError as error:
        raise LogCorruptError(f"{path.name}: not a signature; restore the file") from error
    if len(found) != SIGNATURE_SIZE:
        raise LogCorruptError(f"{path.name}: not a signature; restore the file")
    return found
