"""What a desk can do at the moment: epoch, tables, cache, quota, alarms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clients.desk.policy import load_policy
from clients.desk.watch import ALARMS as DESK_ALARMS
from clients.lookup.alarms import Alarm, Alarms
from clients.lookup.api import HubRefusedError
from clients.lookup.session import Lookup
from clients.lookup.trust import ALARMS as LOOKUP_ALARMS
from clients.node.home import Home
from compliance.clock import Clock, SystemClock
from protocols.link import TransportError

_LAST_ALARMS = 5
_CLOCK = SystemClock()


def describe(directory: Path, *, clock: Clock = _CLOCK) -> dict[str, Any]:
    """Return the state of a node's desk as plain values, without asking for any light."""
    policy, now = load_policy(directory), clock.now()
    with Lookup(Home(directory), clock=clock) as lookup:
        epoch = lookup.epoch()
        tables = lookup.tables(epoch)
        quota, problem = _quota(lookup)
        sources = policy.sources(epoch.manifest, tables, own=lookup.trust.name, now=now)
        cached, synced_at = len(epoch.cache), lookup.synced_at()
    alarms = _alarms(directory)
    return {
        "epoch": epoch.manifest.epoch,
        "ends_in_s": epoch.manifest.not_after - now,
        "tables": [
            {
                "contributor": source.contributor,
                "freshness": source.freshness.value,
                "required": source.is_required,
                "age_s": source.age_s,
                "max_age_s": source.max_age_s,
                "version": tables[source.contributor].header.version
                if source.contributor in tables
                else None,
                "records": tables[source.contributor].header.count
                if source.contributor in tables
                else None,
            }
            for source in sources
        ],
        "cached": cached,
        "quota": quota,
        "problem": problem,
        "synced_s_ago": now - synced_at if synced_at else None,
        "alarms": len(alarms),
        "last_alarms": [
            {"kind": alarm.kind, "at": alarm.at, "subject": alarm.subject, "text": alarm.text}
            for alarm in alarms[-_LAST_ALARMS:]
        ],
    }


def _quota(lookup: Lookup) -> tuple[dict[str, int] | None, str]:
    try:
        found = lookup.api.quota()
    except (TransportError, HubRefusedError) as error:
        return None, str(error)
    return {"quota": found.quota, "used": found.used, "left": found.left}, ""


def _alarms(directory: Path) -> list[Alarm]:
    found: list[Alarm] = []
    for name in (LOOKUP_ALARMS, DESK_ALARMS):
        if (directory / name).exists():
            alarms = Alarms(directory / name)
            found += alarms.all()
            alarms.close()
    return sorted(found, key=lambda alarm: alarm.at)
