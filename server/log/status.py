"""What the operator sees of the log, and listing its witnesses; by any process, from the files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from compliance.configuration import ConfigError
from compliance.files import write_atomically
from compliance.log.alarms import LogAlarms
from compliance.office.opening import FOLDER
from protocols.errors import MalformedMessageError
from protocols.link import check_party
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import verify_signers
from protocols.tlog.note import Note, VerifierKey
from server.home import HubHome
from server.log.opening import ALARMS, WITNESSES, HubLog, open_log
from server.log.places import check_url
from server.log.reading import years_of
from server.log.witnesses import Listed, Witnesses


def describe(home: HubHome) -> dict[str, Any]:
    """Describe the log of a hub, which may be served or not.

    Raises:
        ConfigError, ComplianceError: a file cannot be used; names the cure.
    """
    with open_log(home) as log, closing(LogAlarms(home.root / FOLDER / ALARMS)) as alarms:
        return {
            "key": log.key.format(),
            "quorum": 0 if log.witnesses is None else log.witnesses.quorum,
            "years": [
                {
                    "origin": year.origin,
                    "entries": log.storage.edge(year.origin).size,
                    "published": year.size,
                    "cosigned": _cosigned(log, year.origin),
                }
                for year in years_of(log.storage, log.prefix)
            ],
            "alarms": [
                {"number": item.number, "log": item.alarm.log, "text": item.alarm.text}
                for item in alarms.open()
            ],
        }


def listed(home: HubHome) -> dict[str, Any]:
    """Return the contents of witnesses.json; nobody where there is none.

    Raises:
        ConfigError: names the field, the rule and the cure.
    """
    path = home.root / FOLDER / WITNESSES
    return Witnesses.load(path).fields() if path.exists() else {"quorum": 0, "witnesses": []}


def list_witness(
    home: HubHome,
    *,
    name: str,
    keys: Sequence[str],
    url: str = "",
    authority: str = "",
    quorum: int = 0,
) -> dict[str, Any]:
    """List a witness, or give a listed one other keys; return what the file holds then.

    Args:
        quorum: 0 for a majority of all that are listed.

    Raises:
        ConfigError: a name, key or URL is none, or the list would not hold together.
    """
    home.settings()
    path = home.root / FOLDER / WITNESSES
    try:
        check_party(name)
        new = Listed(name, tuple(map(VerifierKey.parse, keys)), url, authority)
    except MalformedMessageError as error:
        raise ConfigError(
            f"witness: {error}; copy what `lianfang audit witness key` prints"
        ) from error
    if url:
        check_url(url)
    before = Witnesses.load(path).listed if path.exists() else ()
    kept = tuple(item for item in before if item.name != name)
    found = Witnesses(quorum or (len(kept) + 1) // 2 + 1, (*kept, new))
    found.policy(())  # refused before it is written
    write_atomically(path, json.dumps(found.fields(), indent=1).encode())
    return found.fields()


def _cosigned(log: HubLog, origin: str) -> list[str]:
    """Return the listed witnesses whose signatures stand on the published checkpoint."""
    data = log.storage.checkpoint(origin)
    if data is None or log.witnesses is None:
        return []
    note = Note.decode(data)
    checkpoint = Checkpoint.parse(note.text)
    return [
        item.name
        for item in log.witnesses.listed
        if verify_signers(checkpoint, note, list(item.keys))
    ]
