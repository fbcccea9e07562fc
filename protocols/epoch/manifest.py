"""The epoch manifest: one signed page that says which key is in force and under which rules.

    holders   generate a key together, each builds the manifest from the same terms
    holder    signs it                    -> hub
    hub       collects the signatures     -> everybody
    anybody   verifies all of them, and that the public shares belong to the key

What can be read in it (threshold, holders, key) is written beside the key record for
people; the record is what counts, and a manifest in which the two differ is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.codec import canonical_json, parse_json
from protocols.epoch.grants import (
    FIRST_EPOCH,
    MAX_WHOLE,
    Grant,
    check_askers,
    check_contributors,
    check_validity,
    grant_fields,
    read_fields,
    read_grants,
    read_hex,
)
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.group.interface import Group
from protocols.group.select import load_group
from protocols.lookup.signing import (
    DIGEST_SIZE,
    SIGNATURE_SIZE,
    check_hub,
    check_name,
    check_size,
    check_whole,
    sign,
    verify,
)
from protocols.oprf.errors import WrongEpochError
from protocols.oprf.records import KeyRecord
from protocols.oprf.suite import IDENTIFIER
from protocols.oprf.threshold import verify_record

FORMAT = "lianfang/epoch/manifest/v1"
NO_PREVIOUS = bytes(DIGEST_SIZE)
_DOMAIN = FORMAT.encode()
_DIGEST_DOMAIN = b"lianfang/epoch/manifest-digest/v1\x00"


@dataclass(frozen=True, slots=True)
class EpochManifest:
    """The key of an epoch and the rules under which it is used.

    Args:
        not_before, not_after: Unix seconds; in force from the first, up to the second.
        grace_s: how long after `not_after` its holders still answer.
        contributors: who may publish, under which number; a number is never given again.
        askers: who may ask, how much and why.
        previous: digest of the manifest before this one; zeros for the first.
    """

    hub: str
    record: KeyRecord
    not_before: int
    not_after: int
    grace_s: int
    contributors: Mapping[str, int]
    askers: Mapping[str, Grant]
    previous: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_hub(self.hub, "manifest: hub")
        check_whole(self.record.epoch, "manifest: epoch", least=FIRST_EPOCH, most=MAX_WHOLE)
        for name in self.record.holders:
            check_name(name, "manifest: a holder's name")
        check_validity(
            "manifest",
            not_before=self.not_before,
            not_after=self.not_after,
            grace_s=self.grace_s,
        )
        check_contributors("manifest", self.contributors)
        check_askers("manifest", self.askers)
        check_size(self.previous, DIGEST_SIZE, "manifest: previous")

    @property
    def epoch(self) -> int:
        """The number of the epoch."""
        return self.record.epoch

    @property
    def digest(self) -> bytes:
        """Name the manifest in 32 bytes."""
        return sha256(_DIGEST_DOMAIN + self.encode()).digest()

    def covers(self, now: int) -> bool:
        """Report whether new requests are to be made under this epoch at `now`."""
        return self.not_before <= now < self.not_after

    def serves(self, now: int) -> bool:
        """Report whether holders answer under this epoch at `now`; the grace is included."""
        return self.not_before <= now < self.not_after + self.grace_s

    def encode(self) -> bytes:
        """Write the canonical form."""
        fields = _record_fields(self.record) | {
            "format": FORMAT,
            "hub": self.hub,
            "record": self.record.encode().hex(),
            "not_before": self.not_before,
            "not_after": self.not_after,
            "grace_s": self.grace_s,
            "contributors": dict(self.contributors),
            "askers": grant_fields(self.askers),
            "previous": self.previous.hex(),
        }
        return canonical_json(fields)

    @classmethod
    def decode(cls, data: bytes) -> EpochManifest:
        """Read a manifest in canonical form; `verify_manifest` judges key and signatures.

        Raises:
            MalformedMessageError: on any other byte string; names field and rule.
        """
        fields = read_fields(parse_json(data, "manifest"), _FIELDS, "manifest")
        if fields["format"] != FORMAT:
            raise MalformedMessageError(f"manifest: format must be {FORMAT}")
        record = KeyRecord.decode(read_hex(fields["record"], "manifest: record", None))
        for name, value in _record_fields(record).items():
            # A list compares as a list only, 1 and true compare as equal: by their JSON.
            if _canonical(fields[name]) != canonical_json(value):
                raise MalformedMessageError(f"manifest: {name} differs from the key record")
        if not isinstance(fields["contributors"], dict):
            raise MalformedMessageError("manifest: contributors must be an object")
        manifest = cls(
            hub=fields["hub"],
            record=record,
            not_before=fields["not_before"],
            not_after=fields["not_after"],
            grace_s=fields["grace_s"],
            contributors=fields["contributors"],
            askers=read_grants(fields["askers"], "manifest"),
            previous=read_hex(fields["previous"], "manifest: previous"),
        )
        if manifest.encode() != data:
            raise MalformedMessageError("manifest: not in canonical form")
        return manifest


@dataclass(frozen=True, slots=True)
class SignedManifest:
    """A manifest in canonical form with the signatures of its holders, by name."""

    manifest_bytes: bytes = field(repr=False)
    signatures: Mapping[str, bytes] = field(repr=False)

    def format(self) -> bytes:
        """Write it as one JSON object in UTF-8, the manifest readable within."""
        signatures = {name: value.hex() for name, value in self.signatures.items()}
        manifest = parse_json(self.manifest_bytes, "manifest")
        return canonical_json({"manifest": manifest, "signatures": signatures})

    @classmethod
    def parse(cls, data: bytes) -> SignedManifest:
        """Read what `format` wrote; nothing of it is believed before `verify_manifest`.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        subject = "signed manifest"
        fields = read_fields(parse_json(data, subject), {"manifest", "signatures"}, subject)
        signatures = fields["signatures"]
        if not isinstance(signatures, dict):
            raise MalformedMessageError(f"{subject}: signatures must be an object")
        for name in signatures:
            check_name(name, f"{subject}: a signer's name")
        return cls(
            _canonical(fields["manifest"]),
            {
                name: read_hex(value, f"{subject}: signature of {name}", SIGNATURE_SIZE)
                for name, value in signatures.items()
            },
        )


def sign_manifest(identity: Ed25519PrivateKey, manifest: EpochManifest) -> bytes:
    """Sign a manifest as one of its holders."""
    return sign(identity, _DOMAIN, manifest.encode())


def verify_manifest(
    signed: SignedManifest,
    identities: Mapping[str, Ed25519PublicKey],
    *,
    now: int | None = None,
    group: Group | None = None,
) -> EpochManifest:
    """Return the manifest if all its holders signed it and its shares belong to its key.

    Args:
        identities: pinned keys by name; those of others than the holders are not used.
        now: refuse a manifest that is not served at this time; None where the time does
            not matter, as for one that begins next month.
        group: the backend; None for that of the process.

    Raises:
        MalformedMessageError: no manifest, or one that breaks a rule.
        InvalidProofError: a holder's signature is missing, of someone else, or wrong.
        WrongShareError: the public shares do not belong to the public key.
        WrongEpochError: not served at `now`.
    """
    manifest = EpochManifest.decode(signed.manifest_bytes)
    holders = manifest.record.holders
    if foreign := sorted(set(signed.signatures) - set(holders)):
        raise InvalidProofError(
            f"manifest: signed by {foreign[0]}, which is not one of its holders"
        )
    for name in holders:
        if name not in signed.signatures:
            raise InvalidProofError(f"manifest: the signature of {name} is missing")
        if name not in identities:
            raise InvalidProofError(f"manifest: no identity key of {name} is pinned; pin it first")
        subject = f"manifest, signature of {name}"
        verify(identities[name], _DOMAIN, signed.manifest_bytes, signed.signatures[name], subject)
    if len({identities[name].public_bytes_raw() for name in holders}) != len(holders):
        # One key under two names would be one holder where the threshold counts two.
        raise InvalidProofError("manifest: two holders have the same identity key")
    verify_record(load_group() if group is None else group, manifest.record)
    if now is not None and not manifest.serves(now):
        raise WrongEpochError(f"manifest: epoch {manifest.epoch} is not served at this time")
    return manifest


def _record_fields(record: KeyRecord) -> dict[str, Any]:
    """Return what people can read of a key record."""
    return {
        "suite": IDENTIFIER.decode(),
        "epoch": record.epoch,
        "generation": record.generation,
        "threshold": record.threshold,
        "holders": list(record.holders),
        "public_key": record.public.hex(),
        "public_shares": [share.hex() for share in record.public_shares],
    }


_FIELDS = {
    "format",
    "hub",
    "suite",
    "epoch",
    "generation",
    "threshold",
    "holders",
    "public_key",
    "public_shares",
    "record",
    "not_before",
    "not_after",
    "grace_s",
    "contributors",
    "askers",
    "previous",
}


def _canonical(value: Any) -> bytes:
    try:
        return canonical_json(value)
    except RecursionError as error:
        raise MalformedMessageError("manifest: nested too deeply") from error
