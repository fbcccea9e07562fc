"""The terms of a key set-up: all that the manifest will say, except the key itself.

    hub       -> holders   terms
    holder                 compares them with what its own people allow, or refuses
    holders  <-> holders   `oprf.keygen`, in channels that are sealed under the terms' digest
    holder                 builds the manifest from terms and record, and signs it

Every holder builds the manifest by itself, so that the hub cannot put anything into it
after the holders have agreed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

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
from protocols.epoch.manifest import EpochManifest
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.lookup.signing import DIGEST_SIZE, check_hub, check_name, check_size, check_whole
from protocols.oprf.records import KeyRecord
from protocols.oprf.setup import SESSION_SIZE, Setup
from protocols.oprf.shares import MAX_HOLDERS, MIN_THRESHOLD

FORMAT = "lianfang/epoch/terms/v1"
_DIGEST_DOMAIN = b"lianfang/epoch/terms-digest/v1\x00"
_RUN_SESSION_DIGITS = 12


@dataclass(frozen=True, slots=True)
class KeygenTerms:
    """What the holders of an epoch agree on before they make its key.

    Args:
        session: 16 bytes never used before.
        previous: digest of the manifest before; at a refresh, of the one to be refreshed.
        refresh: new shares of the same key, instead of a new key.

    The other fields are those of `EpochManifest`.
    """

    hub: str
    epoch: int
    threshold: int
    holders: tuple[str, ...]
    session: bytes
    not_before: int
    not_after: int
    grace_s: int
    contributors: Mapping[str, int]
    askers: Mapping[str, Grant]
    previous: bytes = field(repr=False)
    refresh: bool = False

    def __post_init__(self) -> None:
        subject = "key set-up"
        check_hub(self.hub, f"{subject}: hub")
        check_whole(self.epoch, f"{subject}: epoch", least=FIRST_EPOCH, most=MAX_WHOLE)
        self._check_holders(subject)
        check_size(self.session, SESSION_SIZE, f"{subject}: session")
        check_validity(
            subject, not_before=self.not_before, not_after=self.not_after, grace_s=self.grace_s
        )
        check_contributors(subject, self.contributors)
        check_askers(subject, self.askers)
        check_size(self.previous, DIGEST_SIZE, f"{subject}: previous")
        if not isinstance(self.refresh, bool):
            raise MalformedMessageError(f"{subject}: refresh must be true or false")

    @property
    def digest(self) -> bytes:
        """The plan hash of the sealed channels: other terms, and no frame opens."""
        return sha256(_DIGEST_DOMAIN + self.encode()).digest()

    @property
    def run(self) -> str:
        """The name of the run on the relay."""
        return f"epoch-{self.epoch}-{self.session.hex()[:_RUN_SESSION_DIGITS]}"

    def setup(self, refreshed: KeyRecord | None = None) -> Setup:
        """Return the agreement for the key programs.

        Args:
            refreshed: the record that we hold, whose shares are to be refreshed.

        Raises:
            UnsupportedParameterError: a refresh without a record, of another record, or a
                record where a new key is to be made.
        """
        if self.refresh != (refreshed is not None):
            wanted = "needs the record in force" if self.refresh else "makes a new key"
            raise UnsupportedParameterError(f"key set-up: {wanted}")
        if refreshed is not None and not self._fits(refreshed):
            raise UnsupportedParameterError(
                "key set-up: epoch, threshold or holders differ from the key to be refreshed"
            )
        return Setup(self.epoch, self.threshold, self.holders, self.session, refreshed)

    def manifest(self, record: KeyRecord) -> EpochManifest:
        """Build the manifest of the key that was made under these terms.

        Raises:
            UnsupportedParameterError: the record was made under others.
        """
        if not self._fits(record) or self.refresh != (record.generation > 0):
            raise UnsupportedParameterError("key set-up: the key was made under other terms")
        return EpochManifest(
            hub=self.hub,
            record=record,
            not_before=self.not_before,
            not_after=self.not_after,
            grace_s=self.grace_s,
            contributors=self.contributors,
            askers=self.askers,
            previous=self.previous,
        )

    def encode(self) -> bytes:
        """Write the canonical form."""
        fields = {
            "format": FORMAT,
            "hub": self.hub,
            "epoch": self.epoch,
            "threshold": self.threshold,
            "holders": list(self.holders),
            "session": self.session.hex(),
            "not_before": self.not_before,
            "not_after": self.not_after,
            "grace_s": self.grace_s,
            "contributors": dict(self.contributors),
            "askers": grant_fields(self.askers),
            "previous": self.previous.hex(),
            "refresh": self.refresh,
        }
        return canonical_json(fields)

    @classmethod
    def decode(cls, data: bytes) -> KeygenTerms:
        """Read terms in canonical form.

        Raises:
            MalformedMessageError: on any other byte string; names field and rule.
        """
        subject = "key set-up"
        names = set(cls.__dataclass_fields__) | {"format"}
        fields = read_fields(parse_json(data, subject), names, subject)
        if fields.pop("format") != FORMAT:
            raise MalformedMessageError(f"{subject}: format must be {FORMAT}")
        if not isinstance(fields["holders"], list):
            raise MalformedMessageError(f"{subject}: holders must be a list")
        if not isinstance(fields["contributors"], dict):
            raise MalformedMessageError(f"{subject}: contributors must be an object")
        fields["holders"] = tuple(fields["holders"])
        fields["session"] = read_hex(fields["session"], f"{subject}: session", SESSION_SIZE)
        fields["previous"] = read_hex(fields["previous"], f"{subject}: previous")
        fields["askers"] = read_grants(fields["askers"], subject)
        terms = cls(**fields)
        if terms.encode() != data:
            raise MalformedMessageError(f"{subject}: not in canonical form")
        return terms

    def _check_holders(self, subject: str) -> None:
        count = len(self.holders)
        check_whole(count, f"{subject}: number of holders", least=MIN_THRESHOLD, most=MAX_HOLDERS)
        check_whole(self.threshold, f"{subject}: threshold", least=MIN_THRESHOLD, most=count)
        for name in self.holders:
            check_name(name, f"{subject}: a holder's name")
        if len(set(self.holders)) != count:
            raise MalformedMessageError(f"{subject}: two holders of one name")

    def _fits(self, record: KeyRecord) -> bool:
        ours = (self.epoch, self.threshold, self.holders)
        return ours == (record.epoch, record.threshold, record.holders)
