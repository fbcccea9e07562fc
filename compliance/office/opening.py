"""An organisation's office as it lies on disk.

    ROOT/agreements/          every version, signature and revocation
    ROOT/policies/            every set of policies that ever decided here
    ROOT/documents/           plans and terms that decisions were about
    ROOT/log/log.sqlite       entries, tiles, private parts
    ROOT/log/log.key, parts.key
    ROOT/log-second/          the checkpoint that was signed last: put it on another disk

This is the organisation's own log: what its people and programs did. It has the origin
`<prefix>/<year>`; nobody else signs it unless a witness is listed somewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.agreement.store import AgreementStore
from compliance.clock import Clock, SystemClock
from compliance.files import DIRECTORY_MODE
from compliance.log.log import Log
from compliance.log.private import PrivateParts
from compliance.log.second import FileCheckpoints
from compliance.log.sqlstore import SqlStorage
from compliance.log.yearly import YearlyLog
from compliance.office.keys import open_keys
from compliance.office.office import Office
from compliance.policy.store import PolicyStore
from protocols.tlog.policy import NONE, Policy
from protocols.tlog.policy import Log as ListedLog

AGREEMENTS = "agreements"
POLICIES = "policies"
DOCUMENTS = "documents"
FOLDER = "log"
SECOND = "log-second"
STORAGE = "log.sqlite"
AUDIT = "audit"


def open_office(
    root: Path,
    name: str,
    prefix: str,
    identities: Mapping[str, Ed25519PublicKey],
    *,
    clock: Clock | None = None,
) -> Office:
    """Open an organisation's office; made at the first time.

    Args:
        name: of the organisation, as in agreements.
        prefix: origin of its logs without the year, such as `insurer/audit`.
        identities: pinned identity keys by party, which agreements are verified under.

    Raises:
        ConfigError: a key cannot be used; names the cure.
        LogCorruptError: the log is not what was written. StorageError: it cannot be reached.
    """
    clock = clock or SystemClock()
    folder = root / FOLDER
    database = folder / STORAGE
    keys = open_keys(folder, begun=database.exists())
    with ExitStack() as ending:
        storage = SqlStorage.open(f"sqlite:///{database}")
        ending.callback(storage.close)
        second = FileCheckpoints(root / SECOND)

        def policy_of(origin: str) -> Policy:
            return Policy((ListedLog(keys.signer(origin).key),), (), (), NONE)

        def open_log(origin: str) -> Log:
            return Log(
                storage,
                second,
                keys.signer(origin),
                policy=policy_of(origin),
                cosign=lambda _note, _prove: [],
                clock=clock,
            )

        yearly = YearlyLog(storage, prefix, clock, open_log)
        # Opened here and not at the first entry: what is wrong with it is told at once.
        yearly.log(yearly.origin())
        parts = PrivateParts(
            storage, master_key=keys.master, index_key=keys.index, random=os.urandom
        )
        return Office(
            name,
            agreements=agreements_in(root, identities),
            policies=policies_in(root),
            yearly=yearly,
            storage=storage,
            parts=parts,
            pseudonyms=keys.pseudonyms,
            clock=clock,
            policy_of=policy_of,
            documents=root / DOCUMENTS,
            ending=ending.pop_all(),
        )


def agreements_in(root: Path, identities: Mapping[str, Ed25519PublicKey]) -> AgreementStore:
    """Return the agreements that are kept in an organisation's directory."""
    return AgreementStore(_folder(root / AGREEMENTS), identities)


def policies_in(root: Path) -> PolicyStore:
    """Return the policies that are kept in an organisation's directory."""
    return PolicyStore(_folder(root / POLICIES))


def _folder(path: Path) -> Path:
    path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    return path
