"""An agreement as it travels: document, signatures, revocations, and the profile it rests on.

    {"agreement": {...}, "signatures": {party: hex}, "revocations": [{...}], "profile": {...}}

One JSON object, in any spelling; signatures are over canonical forms, which a reader makes
again. A file that people pass on has the first two members, or is the document alone; all
are read here. Reading judges form alone: whose signature holds, the store says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from compliance.agreement.document import Agreement
from compliance.agreement.fields import Fields, defect
from compliance.agreement.revocation import Revocation
from compliance.agreement.signing import SignedAgreement
from compliance.agreement.terms import MAX_PARTIES
from protocols.codec import parse_json
from protocols.errors import MalformedMessageError
from protocols.jcs import encode_jcs

MAX_SIZE = 2 << 20
_WHERE = "agreement to keep"
_SIGNED = {"agreement", "signatures"}
_WHOLE = _SIGNED | {"revocations", "profile"}


@dataclass(frozen=True, slots=True)
class Bundle:
    """All that one party gives another about one version.

    Args:
        profile: canonical JSON; None if it is not sent along.
    """

    signed: SignedAgreement
    revocations: tuple[Revocation, ...] = ()
    profile: bytes | None = None

    @property
    def agreement(self) -> Agreement:
        """Return the document."""
        return self.signed.agreement

    def encode(self) -> bytes:
        """Write it as JSON with all four members."""
        signatures = self.signed.signatures
        value = {
            "agreement": self.agreement.format(),
            "signatures": {name: signatures[name].hex() for name in sorted(signatures)},
            "revocations": [json.loads(item.encode()) for item in self.revocations],
            "profile": None if self.profile is None else json.loads(self.profile),
        }
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Bundle:
        """Read what `encode` wrote, or a file of an agreement, signed or not.

        Raises:
            MalformedMessageError: on any other byte string; names field, rule and cure.
        """
        if len(data) > MAX_SIZE:
            raise MalformedMessageError(f"{_WHERE}: more than {MAX_SIZE} bytes")
        value = parse_json(data, _WHERE)
        if isinstance(value, dict) and ("format" in value or set(value) == _SIGNED):
            return cls(SignedAgreement.parse(data))
        fields = Fields.of(value, _WHOLE, _WHERE)
        signed = {name: fields.values[name] for name in _SIGNED}
        profile = fields.values["profile"]
        return cls(
            SignedAgreement.parse(json.dumps(signed).encode()),
            tuple(
                _revocation(item, f"{fields.at('revocations')}[{index}]")
                for index, item in enumerate(fields.items("revocations", most=MAX_PARTIES))
            ),
            None if profile is None else _canonical(profile, fields.at("profile")),
        )


def _revocation(value: object, where: str) -> Revocation:
    return Revocation.decode(_canonical(value, where))


def _canonical(value: Any, where: str) -> bytes:
    try:
        return encode_jcs(value)
    except ValueError as error:
        raise defect(where, "holds what canonical JSON cannot say") from error
