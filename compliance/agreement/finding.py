"""Naming an agreement at a command: a file, or the first digits of a hash."""

from __future__ import annotations

from pathlib import Path

from compliance.agreement.document import Agreement
from compliance.agreement.profile import Profile, profile_digest, shipped_bytes
from compliance.agreement.signing import SignedAgreement
from compliance.agreement.store import AgreementStore
from compliance.configuration import ConfigError
from protocols.errors import UnsupportedParameterError

_DIGEST_DIGITS = 64
_LEAST_DIGITS = 6


def read_agreement(path: Path) -> SignedAgreement:
    """Read an agreement from a file, signed or not.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return SignedAgreement.parse(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path.name}: cannot be read; correct the path or its mode") from error


def find_agreement(store: AgreementStore, text: str, *, first: str) -> SignedAgreement:
    """Return an agreement by file, or by the beginning of its hash; the newest if empty.

    Args:
        first: the command to be run where there is none yet.

    Raises:
        ConfigError: there is none, or several begin so.
    """
    if text and Path(text).is_file():
        return read_agreement(Path(text))
    known = store.digests()
    if not known:
        raise ConfigError(f"agreement: none is kept here; run `{first}` first")
    if not text:
        return store.load(known[-1])
    found = [digest for digest in known if digest.hex().startswith(text)]
    if not _LEAST_DIGITS <= len(text) <= _DIGEST_DIGITS or len(found) != 1:
        raise ConfigError(
            f"agreement: {len(found)} have a hash that begins so; give a file, "
            f"or at least {_LEAST_DIGITS} digits of one"
        )
    return store.load(found[0])


def profile_at_hand(store: AgreementStore, agreement: Agreement) -> bytes:
    """Return the profile's file: the kept one, or the one that comes with the program."""
    return store.profile_bytes(agreement) or shipped_bytes(agreement.profile.id)


def profile_to_read(store: AgreementStore, agreement: Agreement) -> Profile | None:
    """Return the profile for titles, if the very edition is at hand."""
    try:
        found = Profile.parse(profile_at_hand(store, agreement))
    except UnsupportedParameterError:
        return None
    return found if found.digest == agreement.profile.digest else None


def check_edition(agreement: Agreement, accepted: str) -> None:
    """Refuse a profile that does not come with the program, unless its hash was named.

    Whoever drafts may send a profile of its own making under a known name: conformity to it
    says nothing until somebody has read it.

    Raises:
        ConfigError: names the cure.
    """
    digest = agreement.profile.digest
    try:
        is_ours = profile_digest(shipped_bytes(agreement.profile.id)) == digest
    except UnsupportedParameterError:
        is_ours = False
    named = len(accepted) >= _LEAST_DIGITS and digest.hex().startswith(accepted)
    if not is_ours and not named:
        raise ConfigError(
            f"agreement.profile: {agreement.profile.id} {digest.hex()[:12]} is no edition that "
            "comes with this program; read it in agreements/profiles, then give "
            f"--profile {digest.hex()[:12]}"
        )
