"""The hub's HTTP API as a partner sees it: one method for each route, bytes checked in form.

Who signed what is judged by the callers (`trust`, `tables`, `evaluating`): nothing that
this module returns is believed because it came over TLS.

    POST /v1/evaluations                                   evaluate
    GET  /v1/epochs/current, /v1/epochs/{epoch}            current_manifest, manifest
    GET  /v1/epochs/{epoch}/tables                         tables
    GET  /v1/epochs/{epoch}/tables/{contributor}/{version} table, and below it
         /header /digests /filter /buckets/{index} /delta  the method of that name
    POST /v1/epochs/{epoch}/tables/{contributor}           publish
    GET  /v1/quota                                         quota
    GET  /v1/log/key, /v1/log/evidence/{document}          log_key, evidence
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, BinaryIO, Self

from clients.lookup.https import (
    PAUSES_S,
    SERVING_PAUSES_S,
    TIMEOUT_S,
    Https,
    HubRefusedError,
)
from clients.transport import Credentials
from protocols.codec import canonical_json, parse_json
from protocols.epoch.manifest import SignedManifest
from protocols.errors import MalformedMessageError
from protocols.link import check_party
from protocols.lookup.acknowledgement import SignedAcknowledgement
from protocols.lookup.delta import Delta
from protocols.lookup.receipt import Reply
from protocols.lookup.request import CASE_PURPOSES, SignedRequest
from protocols.lookup.table import SignedHeader
from protocols.tlog.logkey import SignedLogKey
from protocols.tlog.proof import MAX_PROOF_SIZE

__all__ = ["HubApi", "HubRefusedError", "Quota", "TableEntry", "TableList"]

REQUEST_TYPE = "application/vnd.lianfang.evaluation-request"
DELTA_TYPE = "application/octet-stream"
MAX_TABLE = 1 << 31
ACKNOWLEDGEMENT_TYPE = "application/vnd.lianfang.table-acknowledgement"
_ACKNOWLEDGEMENTS = "acknowledgements"
MAX_SMALL = 1 << 20
_MAX_COUNT = 1 << 62
_LIST = "list of tables"


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One line of the hub's list: which version of a contributor's table is the newest."""

    contributor: str
    version: int
    count: int
    header: SignedHeader


@dataclass(frozen=True, slots=True)
class TableList:
    """What the hub says is newest, with what it signed.

    Attributes:
        at: when the hub said so, Unix seconds.
        signed: the bytes under `signature`, canonical JSON.
    """

    hub: str
    epoch: int
    at: int
    entries: tuple[TableEntry, ...]
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Quota:
    """What this partner may still ask in the epoch, as the hub counts it."""

    epoch: int
    quota: int
    used: int
    resets_at: int

    @property
    def left(self) -> int:
        """Return the elements that are left."""
        return max(self.quota - self.used, 0)


class HubApi:
    """One hub, spoken to with this node's certificate; for several threads at once.

    Args:
        address: `host:port` of the hub's API.
        timeout_s: the longest that one exchange may stand still.
        pauses_s: how long to wait before each further try.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        timeout_s: float = TIMEOUT_S,
        *,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._https = Https(address, credentials, timeout_s, pauses_s)

    def close(self) -> None:
        """Give the connections back."""
        self._https.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def current_manifest(self) -> SignedManifest:
        """Fetch the manifest of the epoch in force, not verified yet."""
        return SignedManifest.parse(self._https.fetch("/v1/epochs/current", limit=MAX_SMALL))

    def manifest(self, epoch: int) -> SignedManifest:
        """Fetch the manifest of an epoch, not verified yet."""
        return SignedManifest.parse(self._https.fetch(f"/v1/epochs/{epoch}", limit=MAX_SMALL))

    def tables(self, epoch: int) -> TableList:
        """List the newest table of every contributor; signatures are to be verified."""
        data = self._https.fetch(f"/v1/epochs/{epoch}/tables", limit=MAX_SMALL)
        return _table_list(_object(data, _LIST))

    def table(self, epoch: int, contributor: str, version: int, sink: BinaryIO) -> None:
        """Write a whole table to `sink`; a sink that holds a beginning is continued."""
        self._https.download(_path(epoch, contributor, version), sink, limit=MAX_TABLE)

    def header(self, epoch: int, contributor: str, version: int) -> SignedHeader:
        """Fetch one version's signed header."""
        path = _path(epoch, contributor, version, "/header")
        return SignedHeader.decode(self._https.fetch(path, limit=MAX_SMALL))

    def digests(self, epoch: int, contributor: str, version: int) -> bytes:
        """Fetch the bucket digests of a version, which its header's root covers."""
        return self._https.fetch(_path(epoch, contributor, version, "/digests"))

    def filter(self, epoch: int, contributor: str, version: int) -> bytes:
        """Fetch the tag filter of a version."""
        return self._https.fetch(_path(epoch, contributor, version, "/filter"))

    def bucket(self, epoch: int, contributor: str, version: int, index: int) -> bytes:
        """Fetch one padded bucket; all of a version are of one size."""
        return self._https.fetch(_path(epoch, contributor, version, f"/buckets/{index}"))

    def delta(self, epoch: int, contributor: str, version: int, since: int) -> Delta:
        """Fetch the changes from version `since` to `version`.

        Raises:
            HubRefusedError: the hub no longer keeps them; take the whole table.
        """
        path = _path(epoch, contributor, version, f"/delta?since={since}")
        return Delta.decode(self._https.fetch(path, limit=MAX_TABLE))

    def evaluate(self, request: SignedRequest) -> Reply:
        """Send a blinded batch; a repetition with the same bytes is never charged again."""
        headers = {
            "Content-Type": REQUEST_TYPE,
            "Idempotency-Key": request.evaluation.request_id.hex(),
        }
        # A customer at the counter is shown grey soon rather than a light late.
        pauses_s = SERVING_PAUSES_S if request.purpose in CASE_PURPOSES else None
        answer = self._https.send("/v1/evaluations", request.encode(), headers, pauses_s)
        return Reply.decode(answer)

    def publish(self, epoch: int, contributor: str, delta: Delta) -> None:
        """Publish the next version of this partner's own table.

        Raises:
            HubRefusedError: another version was published since; the detail names it.
        """
        check_party(contributor)
        path = f"/v1/epochs/{epoch}/tables/{contributor}"
        self._https.send(path, delta.encode(), {"Content-Type": DELTA_TYPE})

    def acknowledge(self, signed: SignedAcknowledgement) -> None:
        """Say that a version of a table is in force here; may be repeated."""
        said = signed.statement
        check_party(said.contributor)
        path = f"/v1/epochs/{said.epoch}/tables/{said.contributor}/acknowledgements"
        self._https.send(path, signed.encode(), {"Content-Type": ACKNOWLEDGEMENT_TYPE})

    def acknowledgements(
        self, epoch: int, contributor: str
    ) -> tuple[list[str], list[SignedAcknowledgement]]:
        """Ask who may have this partner's own table, and who has said what; not verified yet.

        Raises:
            MalformedMessageError: the answer is none.
        """
        check_party(contributor)
        path = f"/v1/epochs/{epoch}/tables/{contributor}/acknowledgements"
        value = _object(self._https.fetch(path, limit=MAX_SMALL), _ACKNOWLEDGEMENTS)
        try:
            readers = [str(name) for name in value["readers"]]
            for name in readers:
                check_party(name)
            said = [bytes.fromhex(item["signed"]) for item in value["acknowledgements"]]
        except (KeyError, TypeError, ValueError, MalformedMessageError) as error:
            raise MalformedMessageError(f"{_ACKNOWLEDGEMENTS}: not the list of a hub") from error
        return readers, [SignedAcknowledgement.decode(data) for data in said]

    def quota(self) -> Quota:
        """Ask what is left of this partner's quota."""
        value = _object(self._https.fetch("/v1/quota", limit=MAX_SMALL), "quota")
        names = ("epoch", "quota", "used", "resets_at")
        return Quota(*(_count(value, name, "quota") for name in names))

    def log_key(self) -> SignedLogKey:
        """Ask which key the hub's log has; the signature is to be verified."""
        return SignedLogKey.parse(self._https.fetch("/v1/log/key", limit=MAX_SMALL))

    def evidence(self, document: bytes) -> bytes:
        """Fetch the proof that a document is in the hub's log, not verified yet.

        Args:
            document: SHA-256 of the document.

        Raises:
            HubRefusedError: with code `not_found` until a published checkpoint covers it.
        """
        return self._https.fetch(f"/v1/log/evidence/{document.hex()}", limit=MAX_PROOF_SIZE)


def _path(epoch: int, contributor: str, version: int, below: str = "") -> str:
    check_party(contributor)
    return f"/v1/epochs/{epoch}/tables/{contributor}/{version}{below}"


def _object(data: bytes, subject: str) -> dict[str, Any]:
    value = parse_json(data, subject)
    if not isinstance(value, dict):
        raise MalformedMessageError(f"{subject}: not an object")
    return value


def _table_list(value: dict[str, Any]) -> TableList:
    entries = value.get("tables")
    if not isinstance(entries, list):
        raise MalformedMessageError(f"{_LIST}: no list in it")
    signature = _bytes(value, "signature", _LIST)
    signed = canonical_json({name: item for name, item in value.items() if name != "signature"})
    epoch, at = (_count(value, name, _LIST) for name in ("epoch", "at"))
    found = tuple(_table_entry(entry) for entry in entries)
    if len({entry.contributor for entry in found}) != len(found):
        raise MalformedMessageError(f"{_LIST}: a contributor stands in it twice")
    return TableList(str(value.get("hub")), epoch, at, found, signed, signature)


def _table_entry(value: object) -> TableEntry:
    if not isinstance(value, dict) or not isinstance(value.get("contributor"), str):
        raise MalformedMessageError(f"{_LIST}: an entry names no contributor")
    contributor = value["contributor"]
    check_party(contributor)
    version, count = (_count(value, name, _LIST) for name in ("version", "count"))
    header = SignedHeader.decode(_bytes(value, "header", _LIST))
    return TableEntry(contributor, version, count, header)


def _bytes(value: dict[str, Any], name: str, subject: str) -> bytes:
    try:
        return bytes.fromhex(value[name])
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedMessageError(f"{subject}: {name} is not hexadecimal") from error


def _count(value: dict[str, Any], name: str, subject: str) -> int:
    found = value.get(name)
    if type(found) is not int or not 0 <= found < _MAX_COUNT:
        raise MalformedMessageError(f"{subject}: {name} is not a whole number from 0")
    return found
