"""Agreements between a node and its hub: what others have said comes here, what we said goes there.

    node -> hub   GET /v1/agreements           which versions there are, who signed, who revoked
    hub  -> node  the list, or 304 if it is the one that we have
    node -> hub   GET /v1/agreements/{digest}  where the list has more than we have
    node -> hub   PUT, POST                    where we have more than the list

The hub is believed in nothing: a document must be for our hub and name, for every party, the
key that is pinned here; signatures and revocations must hold under these keys. What does not
is left out, and told. Nothing that is kept here is ever taken back because the hub lacks it.

    NODE/agreements/hub/seen.json   the list that came last, and what of it was left out
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from clients.audit.home import AuditHome
from clients.holder.home import HolderHome
from clients.keys import credentials
from clients.lookup.https import SERVING_PAUSES_S, Https, HubRefusedError
from clients.node.home import Home
from compliance.agreement.bundle import MAX_SIZE, Bundle
from compliance.agreement.document import Agreement
from compliance.agreement.fields import Fields
from compliance.agreement.profile import Profile, shipped_bytes
from compliance.agreement.signing import SignedAgreement
from compliance.agreement.standing import State, Version
from compliance.agreement.store import AgreementStore
from compliance.errors import NotPermittedError
from compliance.files import write_atomically
from protocols.codec import canonical_json, parse_json
from protocols.errors import MalformedMessageError, ProtocolError
from protocols.link import TransportError

TIMEOUT_S = 10.0
MAX_LIST = 1 << 20
MAX_LISTED = 1_024
# Unsigned documents cost nobody anything to make.
MAX_DRAFTS = 64
_PATH = "/v1/agreements"
_JSON = {"Content-Type": "application/json"}
_TAG = re.compile(r"[!-~]{1,200}", re.ASCII)
_WHERE = "list of agreements"
_WANTED_AT_HUB = frozenset({State.DRAFT, State.AWAITED, State.IN_FORCE})


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What one exchange with the hub came to.

    Args:
        reached: whether the hub answered; otherwise `detail` says why not.
        fetched, sent: hashes of versions of which something new came, or was taken.
        refused: hash of a version, and why something of it was not taken: here, or by the hub.
    """

    reached: bool
    fetched: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    detail: str = ""

    @property
    def changed(self) -> bool:
        """Whether anything is another than before, here or at the hub."""
        return bool(self.fetched or self.sent)

    def why_not(self, digest: bytes) -> str:
        """Say why a version is not at the hub as it is here; empty if it is."""
        if not self.reached:
            return self.detail
        return dict(self.refused).get(digest.hex(), "")


def sync_agreements(home: Home) -> SyncResult:
    """Exchange agreements with the hub; a hub that is away is told in the result.

    One request and no reading of agreements where nothing changed since the last time.

    Raises:
        ConfigError: the node's own files cannot be used.
        LogCorruptError: the agreements here are damaged.
    """
    try:
        with _connection(home) as hub:
            return _Exchange(AuditHome(home), hub).run()
    except (TransportError, HubRefusedError, MalformedMessageError) as error:
        return SyncResult(reached=False, detail=str(error))


def publish_agreement(home: Home, agreement: Agreement, profile: bytes) -> None:
    """Hand a draft in at the hub without signing it, for all parties to read and sign.

    Raises:
        HubRefusedError: the hub does not take it. TransportError: it cannot be reached.
    """
    with _connection(home) as hub:
        hub.offer(Bundle(SignedAgreement(agreement, {}), profile=profile))


class HubAgreements(Https):
    """The hub's routes of agreements."""

    def listed(self, etag: str) -> tuple[str, str] | None:
        """Return the list and its entity tag, or None if it is the one of `etag`."""
        headers = {"If-None-Match": etag} if etag else {}
        with self._answer("GET", _PATH, headers, None) as response:
            if response.status_code == HTTPStatus.NOT_MODIFIED:
                return None
            data = bytearray()
            for piece in response.iter_bytes():
                data += piece
                if len(data) > MAX_LIST:
                    raise MalformedMessageError(f"{_WHERE}: more than {MAX_LIST} bytes")
            tag = response.headers.get("etag", "")
            return tag if _TAG.fullmatch(tag) else "", data.decode(errors="replace")

    def bundle(self, digest: bytes) -> Bundle:
        """Return a version; nothing of it is verified yet but its hash."""
        found = Bundle.decode(self.fetch(f"{_PATH}/{digest.hex()}", limit=MAX_SIZE))
        if found.agreement.digest != digest:
            raise MalformedMessageError("agreement: the hub sent another one than was asked for")
        return found

    def offer(self, bundle: Bundle) -> None:
        """Hand in a version with all its signatures."""
        self.send(_PATH, bundle.encode(), _JSON)

    def sign(self, digest: bytes, party: str, signature: bytes) -> None:
        """Add our signature."""
        path = f"{_PATH}/{digest.hex()}/signatures/{party}"
        body = canonical_json({"signature": signature.hex()})
        self._exchange("PUT", path, _JSON, body, MAX_LIST)

    def revoke(self, digest: bytes, revocation: bytes) -> None:
        """Hand in a revocation."""
        self.send(f"{_PATH}/{digest.hex()}/revocations", revocation, _JSON)


@dataclass(frozen=True, slots=True)
class _Listed:
    """What the hub has of one version."""

    signed: frozenset[str]
    revoked: frozenset[str]


@dataclass(slots=True)
class _Exchange:
    """One exchange, and what it came to so far."""

    audit: AuditHome
    hub: HubAgreements
    fetched: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def run(self) -> SyncResult:
        """Do what is to be done, and note what the hub had."""
        store = self.audit.agreements()
        note = store.directory / "hub" / "seen.json"
        seen = _load(note)
        answer = self.hub.listed(seen.get("etag", ""))
        if answer is None and seen.get("mark") == store.fingerprint():
            self.refused = json.loads(seen["refused"])
            return self._result()
        if answer is None and not seen:
            raise MalformedMessageError(f"{_WHERE}: the hub says unchanged, and sent none before")
        etag, text = (seen["etag"], seen["list"]) if answer is None else answer
        listed = _parse_list(text.encode())
        hub = HolderHome(self.audit.node).hub_name()
        for digest, theirs in listed.items():
            self._take(store, digest, theirs, hub)
        for digest, ours in store.versions().items():
            if ours.agreement.hub == hub:
                self._give(store, digest, ours, listed.get(digest))
        found = {
            "etag": etag,
            "list": text,
            "mark": store.fingerprint(),
            "refused": json.dumps(self.refused),
        }
        write_atomically(note, json.dumps(found).encode())
        return self._result()

    def _result(self) -> SyncResult:
        refused = tuple(sorted(self.refused.items()))
        return SyncResult(
            reached=True, fetched=tuple(self.fetched), sent=tuple(self.sent), refused=refused
        )

    def _take(self, store: AgreementStore, digest: bytes, theirs: _Listed, hub: str) -> None:
        """Keep what the hub has and we have not."""
        ours = store.versions().get(digest)
        if (
            ours is not None
            and theirs.signed <= set(ours.signers)
            and theirs.revoked <= _gone(ours)
        ):
            return
        try:
            bundle = self.hub.bundle(digest)
            _check(bundle.agreement, self.audit, hub)
            if ours is None and bundle.signed.is_draft:
                _check_room(store)
            _keep(store, bundle)
        except (ProtocolError, NotPermittedError, HubRefusedError) as error:
            self.refused[digest.hex()] = str(error)
        found = store.versions().get(digest)
        if found is not None and (ours is None or _listed(found) != _listed(ours)):
            self.fetched.append(digest.hex())

    def _give(
        self, store: AgreementStore, digest: bytes, ours: Version, theirs: _Listed | None
    ) -> None:
        """Hand in what we have and the hub has not; what we did not sign is not ours to send."""
        name, had = self.audit.name, theirs or _Listed(frozenset(), frozenset())
        state = store.state(digest, int(time.time()))
        wanted = state in _WANTED_AT_HUB or (state is State.REVOKED and ours.is_whole)
        if theirs is None and not (wanted and name in ours.signers):
            return
        missing = set(ours.signers) - had.signed
        if theirs is not None and missing == {name}:
            with self._handing_in(digest):
                self.hub.sign(digest, name, ours.signed.signatures[name])
        elif missing:
            with self._handing_in(digest):
                self.hub.offer(Bundle(ours.signed, profile=store.profile_bytes(ours.agreement)))
        for word in ours.revocations:
            if word.party not in had.revoked:
                with self._handing_in(digest):
                    self.hub.revoke(digest, word.encode())

    @contextmanager
    def _handing_in(self, digest: bytes) -> Iterator[None]:
        """Note whether the hub took it; a refusal is told and holds nothing else up."""
        try:
            yield
        except HubRefusedError as error:
            self.refused[digest.hex()] = str(error)
        else:
            if digest.hex() not in self.sent:
                self.sent.append(digest.hex())


def _check(agreement: Agreement, audit: AuditHome, hub: str) -> None:
    """Refuse what is not for our hub, not ours, or names a party with no key that we pinned.

    Raises:
        NotPermittedError: names the cure.
    """
    if agreement.hub != hub:
        raise NotPermittedError(f"agreement: is for the hub {agreement.hub}, ours is {hub}")
    if agreement.party(audit.name) is None:
        raise NotPermittedError("agreement: this node is no party of it")
    pinned = audit.identities()
    for party in agreement.parties:
        if party.name not in pinned:
            raise NotPermittedError(
                f"agreement: no key of {party.name} is pinned; run `lianfang node trust` first"
            )
        if pinned[party.name] != party.identity:
            raise NotPermittedError(
                f"agreement: names another key for {party.name} than is pinned; ask the hub"
            )


def _check_room(store: AgreementStore) -> None:
    unsigned = sum(not version.is_whole for version in store.versions().values())
    if unsigned >= MAX_DRAFTS:
        raise NotPermittedError(f"agreement: {unsigned} unsigned versions are kept here already")


def _keep(store: AgreementStore, bundle: Bundle) -> None:
    """Keep a version, once its profile can be read too, and then its revocations."""
    reference = bundle.agreement.profile
    profile = bundle.profile or shipped_bytes(reference.id)
    if Profile.parse(profile).digest != reference.digest:
        raise NotPermittedError("profile: is another edition than the agreement names")
    now = int(time.time())
    digest = store.keep(bundle.signed, profile=profile, now=now)
    for word in bundle.revocations:
        if word.agreement != digest:
            raise MalformedMessageError("revocation: of another agreement than asked for")
        store.keep_revocation(word, now=now)


def _gone(version: Version) -> frozenset[str]:
    return frozenset(item.party for item in version.revocations)


def _listed(version: Version) -> _Listed:
    return _Listed(frozenset(version.signers), _gone(version))


def _parse_list(data: bytes) -> dict[bytes, _Listed]:
    """Read the hub's list; members beyond those that are used may be there.

    Raises:
        MalformedMessageError: on anything else.
    """
    value = parse_json(data, _WHERE)
    holder = Fields(value if isinstance(value, dict) else {}, _WHERE)
    if "agreements" not in holder.values:
        raise MalformedMessageError(f"{_WHERE}: no list in it")
    found: dict[bytes, _Listed] = {}
    for index, item in enumerate(holder.items("agreements", most=MAX_LISTED)):
        names = {"digest", "signed", "revoked_by"}
        where = f"{_WHERE}[{index}]"
        known = {key: item[key] for key in names & set(item)} if isinstance(item, dict) else item
        fields = Fields.of(known, names, where)
        found[fields.digest("digest")] = _Listed(
            frozenset(fields.texts("signed")), frozenset(fields.texts("revoked_by"))
        )
    return found


def _load(path: Path) -> dict[str, str]:
    """Read what was noted; what cannot be read is as if there were nothing."""
    names = {"etag", "list", "mark", "refused"}
    try:
        value = json.loads(path.read_bytes())
        json.loads(value["refused"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    whole = set(value) == names and all(isinstance(item, str) for item in value.values())
    return value if whole else {}


@contextmanager
def _connection(home: Home) -> Iterator[HubAgreements]:
    address = home.config().api
    if not address:
        raise TransportError("no hub yet; run `lianfang node join` first", retryable=False)
    hub = HubAgreements(address, credentials(home.keys), TIMEOUT_S, SERVING_PAUSES_S)
    try:
        yield hub
    finally:
        hub.close()
