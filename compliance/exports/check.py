"""Checking an exported log or a pack offline: the log, then all that lies beside it.

    log          checkpoint, cosignatures, entries, tiles       (`compliance.log.verify`)
    since        the log only grew since an older checkpoint
    entries      each selected one: canonical, at its place in the tiles, proven by its file
    documents    each is what its name says; agreements are signed by all parties
    files        none was changed, added or taken away since the pack was made

The first fault ends it. A selection proves what it shows, never that it shows all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.agreement.profile import profile_digest
from compliance.agreement.revocation import Revocation, verify_revocation
from compliance.agreement.signing import SignedAgreement, verify_agreement
from compliance.errors import ComplianceError
from compliance.exports.filters import parse_filter
from compliance.exports.pack import DOCUMENTS, FORMAT, SELECTION, SUMS
from compliance.exports.readme import KEYS, pack_keys
from compliance.exports.source import Source, entry_path, open_source, proof_path
from compliance.log.verify import (
    MAX_BUNDLE_SIZE,
    Progress,
    Report,
    verify_files,
)
from protocols.codec import parse_json
from protocols.errors import InvalidProofError, MalformedMessageError, ProtocolError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.entry import Entry
from protocols.tlog.lines import HASH_SIZE
from protocols.tlog.merkle import hash_leaf, root_at, verify_inclusion
from protocols.tlog.note import MAX_NOTE_SIZE, Note
from protocols.tlog.policy import Policy
from protocols.tlog.proof import MAX_PROOF_SIZE, LogProof
from protocols.tlog.tiles import FULL, MAX_ENTRY_SIZE, Tile, TileNodes, decode_tile

MAX_DOCUMENT_SIZE = 1 << 24
_ALL = 1 << 62
_SUM = re.compile(r"([0-9a-f]{64})  (.+)")
_DOCUMENT = re.compile(
    r"(agreements|profiles|policies)/([0-9a-f]{64})\.(?:json|([a-z0-9-]{1,32})\.revocation)",
    re.ASCII,
)
_OUTSIDE = re.compile(r"^/|(?:^|/)\.\.(?:/|$)|\\|:")
# In canonical JSON fields stand in this order; no text holds an unescaped quotation mark.
_AGREEMENT = re.compile(rb'"agreement":\{"digest":"([0-9a-f]{64})","name":"([^"]{1,64})"\}')
_POLICIES = re.compile(rb'"policy_set":"([0-9a-f]{64})"')


@dataclass(frozen=True, slots=True)
class Checked:
    """What was checked, and the first fault.

    Args:
        report: of the log itself.
        is_selection: whether entries lie here one by one, each with its proof.
        selected: how many of these hold.
        files: how many have the hash that the pack names; 0 where it names none.
        documents: how many agreements, profiles and policy sets hold.
        absent: agreements and policy sets that entries name and that are not here; None
            where no documents are, as in a log that is no pack.
        since: size of the older checkpoint that the log was held against.
        fault: empty if everything holds.
    """

    report: Report
    is_selection: bool = False
    selected: int = 0
    files: int = 0
    documents: int = 0
    absent: tuple[str, ...] | None = None
    since: int | None = None
    fault: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether everything holds."""
        return not self.fault


class _Fault(Exception):  # noqa: N818 - never leaves the module: it ends the run with a report
    """The first thing that does not hold."""


def check_export(
    source: Source,
    policy: Policy,
    *,
    minimum: int = 0,
    since: Note | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Check an exported log or a pack.

    Args:
        minimum: the index below which the retention policy allows entries to be missing.
        since: a checkpoint that was shown earlier.
    """
    return _Check(source, policy, since).run(minimum, progress)


def read_note(path: Path) -> Note:
    """Return the checkpoint of an export, or of a file that is one.

    Raises:
        ConfigError, MalformedMessageError: the file is neither.
    """
    try:
        return Note.decode(_start(path))
    except MalformedMessageError:
        with open_source(path) as source:
            return source.note()


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_NOTE_SIZE)
    except OSError:
        return b""


@dataclass(slots=True)
class _Check:
    """One run over one export."""

    source: Source
    policy: Policy
    older: Note | None
    report: Report = field(default_factory=Report)
    is_selection: bool = False
    selected: int = 0
    files: int = 0
    documents: int = 0
    absent: tuple[str, ...] | None = None
    since: int | None = None

    def run(self, minimum: int, progress: Progress | None) -> Checked:
        """Check; the counts end at the first fault."""
        fault = ""
        try:
            self._check(minimum, progress)
        except _Fault as found:
            fault = str(found)
        except (MalformedMessageError, InvalidProofError) as found:
            fault = str(found)
        return Checked(
            self.report,
            is_selection=self.is_selection,
            selected=self.selected,
            files=self.files,
            documents=self.documents,
            absent=self.absent,
            since=self.since,
            fault=fault,
        )

    def _check(self, minimum: int, progress: Progress | None) -> None:
        names = self.source.names
        if len(set(names)) != len(names):
            # One program would read the first of them, another the last.
            raise _Fault("export: two files have the same name")
        if any(_OUTSIDE.search(name) for name in names):
            # Unpacked by hand, as README.md says, it would be written beside the pack.
            raise _Fault("export: the path of a file leads out of it")
        self.is_selection = SELECTION in names and not self.source.has_bundles
        # In a selection the tiles stand for the entries that are not here.
        least = _ALL if self.is_selection else minimum
        self.report = verify_files(self.source.read_file, self.policy, minimum=least,
                                   progress=progress)  # fmt: skip
        if not self.report.is_whole:
            raise _Fault(self.report.fault)
        if self.older is not None:
            self._check_since(self.older)
        if SELECTION in names:
            self._check_selection(is_whole=not self.is_selection)
        self._check_documents()
        self._check_keys()
        if SUMS in names:
            self._check_sums()

    def _check_since(self, note: Note) -> None:
        try:
            older = self.policy.verify(note).checkpoint
        except (InvalidProofError, MalformedMessageError) as error:
            raise _Fault(f"since: the older {error}") from error
        size = self.report.size
        if older.origin != self.report.origin:
            raise _Fault(f"since: is of {older.origin}, this log is {self.report.origin}")
        if older.size > size:
            raise _Fault(f"rollback: {size} entries, where {older.size} were signed before")
        nodes = TileNodes(size, self._tile)
        if older.size and root_at(older.size, nodes) != older.root:
            raise _Fault(f"fork: another history of the first {older.size} entries was signed")
        self.since = older.size

    def _check_selection(self, *, is_whole: bool) -> None:
        value = parse_json(self.source.read(SELECTION, MAX_DOCUMENT_SIZE), SELECTION)
        held = self.source.selected
        count = self.report.size if is_whole else len(held)
        expected = {
            "format": FORMAT,
            "origin": self.report.origin,
            "size": self.report.size,
            "entries": count,
            "whole": is_whole,
        }
        if not isinstance(value, dict) or value.keys() != {*expected, "filter"}:
            raise _Fault(f"{SELECTION}: not the fields of a selection")
        for name, wanted in expected.items():
            if value[name] != wanted:
                raise _Fault(f"{SELECTION}: {name} is not {wanted}, as the files here have it")
        wanted_entries = parse_filter(value["filter"])
        leaves: dict[int, list[bytes]] = {}
        for index in held:
            entry = self._check_entry(index, leaves)
            if not wanted_entries.fits(entry):
                raise _Fault(f"entry {index}: is not one that {SELECTION} asks for")
            self.selected += 1

    def _check_entry(self, index: int, leaves: dict[int, list[bytes]]) -> Entry:
        data = self.source.read(entry_path(index), MAX_ENTRY_SIZE)
        try:
            entry = Entry.decode(data)
        except MalformedMessageError as error:
            raise _Fault(f"entry {index}: {error}") from error
        if entry.sequence != index or index >= self.report.size:
            raise _Fault(f"entry {index}: says that it is entry {entry.sequence}")
        number, at = divmod(index, FULL)
        if number not in leaves:
            tile = Tile(0, number, min(FULL, self.report.size - number * FULL))
            leaves[number] = decode_tile(self._tile(tile), tile.width)
        if leaves[number][at] != hash_leaf(data):
            raise _Fault(f"entry {index}: is not the one in the log")
        self._check_proof(index, data)
        return entry

    def _check_proof(self, index: int, data: bytes) -> None:
        path = proof_path(index)
        data_of_proof = self.source.read(path, MAX_PROOF_SIZE)
        try:
            proof = LogProof.decode(data_of_proof)
        except MalformedMessageError as error:
            raise _Fault(f"{path}: {error}") from error
        if proof.index != index:
            raise _Fault(f"{path}: is of entry {proof.index}")
        # The note was verified with the log; another one, even a good one, proves another tree.
        if proof.note != self.source.note():
            raise _Fault(f"{path}: is under another checkpoint")
        checkpoint = Checkpoint.parse(proof.note.text)
        try:
            verify_inclusion(index, checkpoint.size, hash_leaf(data), proof.hashes, checkpoint.root)
        except InvalidProofError as error:
            raise _Fault(f"{path}: {error}") from error

    def _check_documents(self) -> None:
        found = [
            (name, _DOCUMENT.fullmatch(name))
            for name in self.source.names
            if name.startswith(DOCUMENTS)
        ]
        if not found:
            return
        matches = []
        for name, match in found:
            if match is None:
                raise _Fault(f"{name[:200]}: is no document of a pack")
            matches.append(match)
        names = {(match.group(1), match.group(2)) for match in matches}
        agreements: dict[str, SignedAgreement] = {}
        # What was revoked comes before what revokes it.
        for match in sorted(matches, key=lambda item: (item.group(3) is not None, item.group())):
            folder, digest, party = match.groups()
            data = self.source.read(match.group(), MAX_DOCUMENT_SIZE)
            if party is None:
                _check_document(match.group(), folder, digest, data, agreements)
            elif digest not in agreements or party not in agreements[digest].agreement.names:
                raise _Fault(f"{match.group()}: of an agreement or a party that is not here")
            else:
                _check_revocation(match.group(), party, data, agreements[digest])
            self.documents += 1
        named, sets = self._named()
        for digest, name in sorted(named):
            held = agreements.get(digest)
            if held is not None and held.agreement.name != name:
                raise _Fault(f"agreements/{digest}.json: entries give it another name")
        wanted = {("agreements", digest) for digest, _ in named}
        wanted |= {("policies", digest) for digest in sets}
        self.absent = tuple(f"{folder}/{digest}" for folder, digest in sorted(wanted - names))

    def _named(self) -> tuple[set[tuple[str, str]], set[str]]:
        """Return the agreements and policy sets that the entries name."""
        agreements: set[tuple[str, str]] = set()
        sets: set[str] = set()
        for _, data in self.source.data():
            if (agreement := _AGREEMENT.search(data)) is not None:
                agreements.add((agreement.group(1).decode(), agreement.group(2).decode()))
            if (policies := _POLICIES.search(data)) is not None:
                sets.add(policies.group(1).decode())
        return agreements, sets

    def _check_keys(self) -> None:
        """Check that the keys for OpenSSL are those of the policy beside them."""
        names = [name for name in self.source.names if name.startswith(KEYS)]
        policy = self.source.policy()
        if not names or policy is None:
            return
        known = {item.path: item.pem() for item in pack_keys(policy, self.report.origin)}
        for name in names:
            if known.get(name) != self.source.read(name, MAX_DOCUMENT_SIZE):
                raise _Fault(f"{name[:200]}: is not a key of policy.txt")

    def _check_sums(self) -> None:
        text = self.source.read(SUMS, MAX_DOCUMENT_SIZE).decode(errors="replace")
        listed: dict[str, str] = {}
        for line in text.splitlines():
            match = _SUM.fullmatch(line)
            if match is None or match.group(2) in listed:
                raise _Fault(f"{SUMS}: a line is no hash with a path, or a path is there twice")
            listed[match.group(2)] = match.group(1)
        others = set(self.source.names) - {SUMS}
        if different := sorted(others ^ set(listed)):
            rule = f"is not listed in {SUMS}" if different[0] in others else "missing"
            raise _Fault(f"{different[0][:200]}: {rule}")
        for name in sorted(others):
            if sha256(self.source.read(name, MAX_BUNDLE_SIZE)).hexdigest() != listed[name]:
                raise _Fault(f"{name}: is not the file that was packed")
            self.files += 1

    def _tile(self, tile: Tile) -> bytes:
        return self.source.read(tile.path, tile.width * HASH_SIZE)


def _check_document(
    path: str, folder: str, digest: str, data: bytes, agreements: dict[str, SignedAgreement]
) -> None:
    try:
        if folder == "agreements":
            signed = SignedAgreement.parse(data)
            agreement = verify_agreement(signed, _own_keys(signed))
            agreements[digest], found = signed, agreement.digest
        elif folder == "profiles":
            found = profile_digest(data)
        else:
            found = _policy_digest(data)
    except (ProtocolError, ComplianceError) as error:
        raise _Fault(f"{path}: {error}") from error
    if found.hex() != digest:
        raise _Fault(f"{path}: is not the document of its name")


def _policy_digest(data: bytes) -> bytes:
    # Cedar is loaded where policies are: checking a log alone must not wait for it.
    from compliance.policy.policyset import PolicySet  # noqa: PLC0415  see above

    return PolicySet.decode(data).digest


def _own_keys(signed: SignedAgreement) -> Mapping[str, Ed25519PublicKey]:
    """Return the keys that the document itself names: whose they are is for people to compare."""
    found: dict[str, Any] = {}
    for party in signed.agreement.parties:
        try:
            found[party.name] = Ed25519PublicKey.from_public_bytes(party.identity)
        except ValueError as error:
            raise MalformedMessageError(f"identity of {party.name}: no key") from error
    return found


def _check_revocation(path: str, party: str, data: bytes, signed: SignedAgreement) -> None:
    try:
        revocation = Revocation.decode(data)
        verify_revocation(revocation, signed.agreement)
        if revocation.party != party:
            raise _Fault(f"{path}: is of {revocation.party}")
    except (ProtocolError, ComplianceError) as error:
        raise _Fault(f"{path}: {error}") from error
