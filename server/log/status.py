"""What the operator sees of the log and its witnesses; by any process, from the files."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from compliance.log.alarms import LogAlarms
from compliance.office.opening import FOLDER
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import verify_signers
from protocols.tlog.note import Note
from server.home import HubHome
from server.log.opening import ALARMS, WITNESSES, HubLog, open_log
from server.log.reading import years_of
from server.log.witnesses import Witnesses


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
    return Witnesses.load_any(home.root / FOLDER / WITNESSES).fields()


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
