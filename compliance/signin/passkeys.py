"""Passkeys: registered by whoever is signed in, and then enough to sign in, without a name.

    register   options(account) -> browser -> register(answer)
    sign in    ask() -> browser -> verify(answer): the passkey, whose account is known by it

The user is always verified by the authenticator (PIN, finger, face), so that a passkey is two
factors; no attestation is asked for. What the authenticator counts must grow: a copy that
counts on elsewhere is noticed at the next use, and refused.

Source:
    Web Authentication Level 3, sections 7.1 (registering) and 7.2 (verifying an assertion);
    the steps are those of the library `webauthn`, the rest is cited where it stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import webauthn
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, options_to_json
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from compliance.signin.challenges import Challenges
from compliance.signin.errors import SignInError
from compliance.signin.values import Passkey, SignInStore
from compliance.staff.accounts import Account

CHALLENGE_SIZE, HANDLE_SIZE = 32, 32
MOST_EACH = 10
MAX_ANSWER = 8_192
MAX_NAME = 40
_ALGORITHMS = [
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]
_REGISTER, _ASSERT = "passkey-register", "passkey-assert"
# What a library may raise on bytes that nobody expected, beside its own errors.
_UNREADABLE = (WebAuthnException, ValueError, KeyError, TypeError, IndexError, AttributeError)


@dataclass(frozen=True, slots=True)
class Passkeys:
    """The passkeys of one site.

    Args:
        origin: of the site; its host is the relying party, so that no other site can ask.
        title: of the organisation, as the browser shows it.
    """

    origin: str
    title: str
    store: SignInStore
    challenges: Challenges
    random: Callable[[int], bytes]

    @property
    def party(self) -> str:
        """Return the relying party's id."""
        return urlsplit(self.origin).hostname or ""

    def options(self, account: Account, secret: bytes, *, now: int) -> dict[str, Any]:
        """Return what the browser needs to make a passkey for an account.

        Raises:
            SignInError: the account has as many as it may. CrowdedError: too many at once.
        """
        held = self.store.passkeys(account.name)
        if len(held) >= MOST_EACH:
            raise SignInError("passkey", f"an account has {MOST_EACH} passkeys at most")
        # One handle for all passkeys of an account, and nothing that could tell who it is
        # (Level 3, section 14.6.1).
        handle = held[0].handle if held else self.random(HANDLE_SIZE)
        challenge = self.random(CHALLENGE_SIZE)
        kept = {"challenge": challenge.hex(), "handle": handle.hex(), "account": account.name}
        self.challenges.put(_REGISTER, secret, kept, now=now)
        made = webauthn.generate_registration_options(
            rp_id=self.party,
            rp_name=self.title,
            user_id=handle,
            user_name=account.name,
            user_display_name=account.display,
            challenge=challenge,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                require_resident_key=True,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=item.id) for item in held],
            supported_pub_key_algs=_ALGORITHMS,
        )
        found: dict[str, Any] = json.loads(options_to_json(made))
        return found

    def register(
        self, account: Account, secret: bytes, answer: str, name: str, *, now: int
    ) -> Passkey:
        """Return the passkey that a browser has made, to be kept with `SignInStore.add_passkey`.

        Raises:
            SignInError: the answer does not fit the question of this browser and account.
        """
        kept = self.challenges.take(_REGISTER, secret, now=now)
        if kept is None or kept["account"] != account.name:
            raise SignInError("passkey", "nothing was asked, or too long ago")
        try:
            made = webauthn.verify_registration_response(
                credential=_parsed(answer),
                expected_challenge=bytes.fromhex(kept["challenge"]),
                expected_rp_id=self.party,
                expected_origin=self.origin,
                require_user_verification=True,
                supported_pub_key_algs=_ALGORITHMS,
            )
        except _UNREADABLE as error:
            raise SignInError("passkey", "the answer cannot be verified") from error
        # Step 27: one that is registered already, to whomever, is refused.
        if self.store.passkey(made.credential_id) is not None:
            raise SignInError("passkey", "is registered already")
        return Passkey(
            made.credential_id, account.name, bytes.fromhex(kept["handle"]),
            made.credential_public_key, made.sign_count, _named(name), created=now, used=now,
        )  # fmt: skip

    def ask(self, secret: bytes, *, now: int, account: str = "") -> dict[str, Any]:
        """Return what the browser needs to prove who its user is.

        Args:
            account: whose passkey it must be; whoever's if empty. Its passkeys are not listed:
                the browser knows them, and a list would tell who has any.

        Raises:
            CrowdedError: too many at once.
        """
        challenge = self.random(CHALLENGE_SIZE)
        kept = {"challenge": challenge.hex(), "account": account}
        self.challenges.put(_ASSERT, secret, kept, now=now)
        made = webauthn.generate_authentication_options(
            rp_id=self.party,
            challenge=challenge,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        found: dict[str, Any] = json.loads(options_to_json(made))
        return found

    def verify(self, secret: bytes, answer: str, *, now: int) -> Passkey:
        """Return the passkey by which a browser has proved who its user is.

        Raises:
            SignInError: it has not.
        """
        kept = self.challenges.take(_ASSERT, secret, now=now)
        if kept is None:
            raise SignInError("passkey", "nothing was asked, or too long ago")
        try:
            credential = _parsed(answer)
            number = base64url_to_bytes(credential["rawId"])
            handle = base64url_to_bytes(credential["response"]["userHandle"])
        except _UNREADABLE as error:
            raise SignInError("passkey", "the answer cannot be read") from error
        passkey = self.store.passkey(number)
        # Level 3, section 7.2, step 6: the handle must be that of the account that is found.
        if passkey is None or passkey.handle != handle:
            raise SignInError("passkey", "no such passkey")
        if kept["account"] not in {"", passkey.account}:
            raise SignInError("passkey", "the passkey of another account")
        self._check(passkey, credential, bytes.fromhex(kept["challenge"]), now)
        return passkey

    def _check(
        self, passkey: Passkey, credential: dict[str, Any], challenge: bytes, now: int
    ) -> None:
        try:
            found = webauthn.verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self.party,
                expected_origin=self.origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except _UNREADABLE as error:
            raise SignInError("passkey", "the answer cannot be verified") from error
        # Step 22: two that count alike are a copy, also where both come at the same moment.
        if not self.store.count_passkey(
            passkey.id, before=passkey.sign_count, after=found.new_sign_count, now=now
        ):
            raise SignInError("passkey", "the counter does not grow")


def passkey_id(text: str) -> bytes:
    """Read the id of a passkey from a form.

    Raises:
        SignInError: it is none.
    """
    try:
        return base64url_to_bytes(text)
    except ValueError as error:
        raise SignInError("passkey", "no such passkey") from error


def passkey_word(number: bytes) -> str:
    """Write the id of a passkey for a form."""
    return bytes_to_base64url(number)


def _parsed(answer: str) -> dict[str, Any]:
    if len(answer) > MAX_ANSWER:
        raise ValueError("answer: too long")
    found = json.loads(answer)
    if not isinstance(found, dict) or not isinstance(found.get("response"), Mapping):
        raise ValueError("answer: no object with a response")  # noqa: TRY004  what every unreadable answer raises
    return found


def _named(name: str) -> str:
    """Return what an owner calls a passkey, as a page can show it."""
    kept = "".join(letter for letter in name.strip() if letter.isprintable())
    return kept[:MAX_NAME]
