"""Agreements on disk: every version, signature and revocation is kept, and none is rewritten.

    <digest>.json               the document in canonical form
    <digest>.<party>.signature  one party's signature, hexadecimal
    <digest>.<party>.revocation one party's revocation, canonical form
    profiles/<digest>.json      the profiles that documents name

A directory holds one series. Files are written whole and durably before a method returns;
several processes may read while one writes. What is read is verified: the document against
its name, the signatures against the pinned keys, so that whoever can write here can end an
agreement by damaging it, and cannot make one.

Which version is in force when, `standing` says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.agreement.document import Agreement
from compliance.agreement.profile import Profile, profile_digest
from compliance.agreement.revocation import MAX_CLOCK_SKEW_S, Revocation, verify_revocation
from compliance.agreement.signing import SignedAgreement, verified_signers, verify_agreement
from compliance.agreement.standing import State, Version, check_succession
from compliance.errors import LogCorruptError, NotPermittedError
from compliance.files import write_atomically
from protocols.errors import MalformedMessageError, ProtocolError
from protocols.lookup.signing import SIGNATURE_SIZE

__all__ = ["AgreementStore", "State", "Version"]

_DIGITS = 64
_DOCUMENT = re.compile(r"[0-9a-f]{64}\.json", re.ASCII)


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
    _known: tuple[object, dict[bytes, Version]] = field(default=(None, {}), repr=False)
    # The same for each version, so that one more signature costs no reading of all the others.
    _read_at: dict[bytes, tuple[object, Version]] = field(default_factory=dict, repr=False)

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
        self._write(self._document(digest), agreement.encode())
        for name, signature in signed.signatures.items():
            self._keep_signature(agreement, name, signature)
        return digest

    def keep_signature(self, digest: bytes, party: str, signature: bytes) -> bool:
        """Keep one party's signature; returns whether it was not here before.

        Raises:
            InvalidProofError: it does not hold. NotPermittedError: there is none of this hash.
        """
        signed = SignedAgreement(self._read(digest), {party: signature})
        agreement = verify_agreement(signed, self.identities, draft=True)
        return self._keep_signature(agreement, party, signature)

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
        path = self._path(agreement.digest, revocation.party, "revocation")
        if path.exists():  # the first word of a party counts; a second adds nothing
            return False
        self._write(path, revocation.encode())
        return True

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
            self.versions().items(), key=lambda item: (item[1].agreement.version, item[0])
        )
        return tuple(digest for digest, _ in found)

    def profile_bytes(self, agreement: Agreement) -> bytes | None:
        """Return the file of the profile that an agreement names, or None; not verified."""
        path = self._profile(agreement.profile.digest)
        return path.read_bytes() if path.exists() else None

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
        versions = self.versions()
        if digest not in versions:
            raise NotPermittedError(f"agreement: {digest.hex()[:12]} is not here")
        return versions[digest].state(versions.values(), now)

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
        by_version: dict[str, list[object]] = {}
        for file in files:
            by_version.setdefault(file[0][:_DIGITS], []).append(file)
        former, known = self._read_at, {}
        read: dict[bytes, tuple[object, Version]] = {}
        for name, _, _, _ in files:
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

    def _stamp(self) -> tuple[object, list[tuple[str, int, int, int]]]:
        keys = tuple((name, key.public_bytes_raw()) for name, key in self.identities.items())
        if not self.directory.is_dir():
            return keys, []
        with os.scandir(self.directory) as entries:
            # What begins with a dot is being written, and may be gone at the next look.
            names = [entry for entry in entries if entry.name[0] != "." and entry.is_file()]
            files = [(entry.name, entry.stat()) for entry in names]
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
        path = self._profile(agreement.profile.digest)
        # The hash is over the content: another spelling of the same profile is no other one.
        if path.exists():
            self.profile(agreement)
        else:
            self._write(path, data)

    def _keep_signature(self, agreement: Agreement, name: str, signature: bytes) -> bool:
        """Write a verified signature, unless the party has signed already: one is enough."""
        path = self._path(agreement.digest, name, "signature")
        if path.exists() and name in verified_signers(
            SignedAgreement(agreement, {name: _signature(path)}), self.identities
        ):
            return False
        self._write(path, signature.hex().encode())
        return True

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


def _signature(path: Path) -> bytes:
    try:
        found = bytes.fromhex(path.read_text(encoding="ascii"))
    except ValueError as error:
        raise LogCorruptError(f"{path.name}: not a signature; restore the file") from error
    if len(found) != SIGNATURE_SIZE:
        raise LogCorruptError(f"{path.name}: not a signature; restore the file")
    return found
