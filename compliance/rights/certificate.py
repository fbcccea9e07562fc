"""Deletion certificates: what was erased, how, when, who was told; never of whom.

    rights/certificates/<serial>.json
        {"body": {...}, "by": name, "signature": hex}      RFC 8785, one spelling

The signature is the organisation's identity key's, so that anybody who has pinned it can
check a certificate on its own. It names the log entry of the erasure and the checkpoint that
contains it; the entry that follows puts the certificate's hash on record. Certificates are
kept for five years at least; no command deletes one.

Source:
    FSC rules G0380233, Art. 14: method and time of deletion, kept for five years.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from compliance.agreement.fields import Fields, defect
from compliance.agreement.vocabulary import Title
from compliance.configuration import ConfigError
from compliance.files import DIRECTORY_MODE, write_atomically
from compliance.rights.deadlines import months_after
from compliance.rights.tokens import rights_folder
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.jcs import decode_jcs, encode_jcs
from protocols.lookup.signing import SIGNATURE_SIZE, sign, verify
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.note import Note

FORMAT = "lianfang/rights/deletion-certificate/v1"
KEPT_MONTHS = 60
FOLDER = "certificates"
_DOMAIN = b"lianfang/rights/deletion-certificate/v1"
_WHERE = "certificate"


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased in one store."""

    store: str
    what: Title
    method: Title
    at: int
    count: int

    def fields(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "store": self.store,
            "what": {"en": self.what.en, "zh": self.what.zh},
            "method": {"en": self.method.en, "zh": self.method.zh},
            "at": self.at,
            "count": self.count,
        }


@dataclass(frozen=True, slots=True)
class Certificate:
    """One erasure.

    Args:
        request: receipt number of the request; drawn at random, it names nobody.
        kept: code of the ground on which something was kept; empty if nothing was.
        recipients: who had received something; `told` are those who were told to erase too.
        origin, index: of the log entry; `checkpoint` is a note that contains it, or empty if
            none was published when the certificate was made.
    """

    serial: str
    owner: str
    request: str
    profile: str
    made_at: int
    erased: tuple[Erased, ...]
    kept: str
    recipients: tuple[str, ...]
    told: tuple[str, ...]
    origin: str
    index: int
    checkpoint: str

    @property
    def kept_until(self) -> int:
        """Until when the certificate itself must be kept."""
        return months_after(self.made_at, KEPT_MONTHS)

    def fields(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "format": FORMAT,
            "serial": self.serial,
            "owner": self.owner,
            "request": self.request,
            "profile": self.profile,
            "made_at": self.made_at,
            "kept_until": self.kept_until,
            "erased": [item.fields() for item in self.erased],
            "kept": self.kept,
            "recipients": list(self.recipients),
            "told": list(self.told),
            "entry": {"origin": self.origin, "index": self.index},
            "checkpoint": self.checkpoint,
        }

    @classmethod
    def parse(cls, value: object) -> Certificate:
        """Read the JSON form.

        Raises:
            MalformedMessageError: names field and rule.
        """
        names = {
            "format", "serial", "owner", "request", "profile", "made_at", "kept_until", "erased",
            "kept", "recipients", "told", "entry", "checkpoint",
        }  # fmt: skip
        fields = Fields.of(value, names, _WHERE)
        if fields.values["format"] != FORMAT:
            raise defect(fields.at("format"), f"must be {FORMAT}")
        entry = Fields.of(fields.values["entry"], {"origin", "index"}, fields.at("entry"))
        kept, checkpoint = fields.values["kept"], fields.values["checkpoint"]
        if not isinstance(kept, str) or not isinstance(checkpoint, str):
            raise defect(_WHERE, "kept and checkpoint must be text")
        found = cls(
            serial=fields.text("serial"),
            owner=fields.text("owner"),
            request=fields.text("request"),
            profile=fields.text("profile"),
            made_at=fields.whole("made_at"),
            erased=tuple(_erased(item) for item in fields.items("erased", least=1)),
            kept=kept,
            recipients=fields.texts("recipients"),
            told=fields.texts("told"),
            origin=entry.text("origin"),
            index=entry.whole("index"),
            checkpoint=checkpoint,
        )
        if found.kept_until != fields.values["kept_until"]:
            raise defect(fields.at("kept_until"), f"must be {KEPT_MONTHS} months after made_at")
        return found


def sign_certificate(identity: Ed25519PrivateKey, certificate: Certificate) -> bytes:
    """Return the signed file."""
    body = certificate.fields()
    signature = sign(identity, _DOMAIN, encode_jcs(body))
    return encode_jcs({"body": body, "by": certificate.owner, "signature": signature.hex()})


def verify_certificate(data: bytes, identities: Mapping[str, Ed25519PublicKey]) -> Certificate:
    """Return what a certificate says, if its owner signed it and it is whole.

    The checkpoint in it is checked for origin and size alone: `lianfang audit verify` proves
    that the entry is in the log.

    Raises:
        MalformedMessageError: it is no certificate.
        InvalidProofError: the owner is not known here, did not sign this, or the checkpoint
            does not reach the entry.
    """
    fields = Fields.of(decode_jcs(data, _WHERE), {"body", "by", "signature"}, "certificate file")
    body = fields.values["body"]
    found, by = Certificate.parse(body), fields.text("by")
    if by != found.owner or by not in identities:
        raise InvalidProofError(f"{_WHERE}: is not by its owner, or that key is not pinned here")
    signature = fields.digest("signature", SIGNATURE_SIZE)
    verify(identities[by], _DOMAIN, encode_jcs(body), signature, _WHERE)
    if found.checkpoint:
        _check_reach(found)
    return found


def certificate_hash(data: bytes) -> bytes:
    """Return the hash by which the log names a certificate."""
    return sha256(data).digest()


class Certificates:
    """The certificates of one organisation."""

    def __init__(self, root: Path) -> None:
        self._folder = rights_folder(root) / FOLDER

    def keep(self, serial: str, data: bytes) -> None:
        """Keep a certificate; durable when this returns."""
        self._folder.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        write_atomically(self.path(serial), data)

    def load(self, serial: str) -> bytes | None:
        """Return a certificate, or None."""
        path = self.path(serial)
        return path.read_bytes() if path.exists() else None

    def path(self, serial: str) -> Path:
        """Name the file of a certificate.

        Raises:
            ConfigError: this is no serial.
        """
        if not serial.replace("-", "").isalnum():
            raise ConfigError("certificate: not a serial; give it as the request shows it")
        return self._folder / f"{serial}.json"


def _check_reach(found: Certificate) -> None:
    try:
        checkpoint = Checkpoint.parse(Note.decode(found.checkpoint.encode()).text)
    except MalformedMessageError as error:
        raise InvalidProofError(f"{_WHERE}: its checkpoint is none") from error
    if checkpoint.origin != found.origin or checkpoint.size <= found.index:
        raise InvalidProofError(f"{_WHERE}: its checkpoint does not contain the entry")


def _erased(value: object) -> Erased:
    fields = Fields.of(value, {"store", "what", "method", "at", "count"}, f"{_WHERE}.erased")
    return Erased(
        fields.text("store"),
        _title(fields, "what"),
        _title(fields, "method"),
        fields.whole("at"),
        fields.whole("count"),
    )


def _title(fields: Fields, name: str) -> Title:
    inner = Fields.of(fields.values[name], {"en", "zh"}, fields.at(name))
    return Title(inner.text("en"), inner.text("zh"))
