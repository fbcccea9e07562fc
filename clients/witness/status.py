"""What a compliance officer wants to know of the witness: its logs, how far, and its alarms."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clients.witness.pins import Pin
from clients.witness.service import open_witness
from clients.witness.store import Seen
from compliance.log.alarms import Raised


def describe(root: Path) -> dict[str, Any]:
    """Describe the witness of a node from its files; it may be running or not.

    Raises:
        KeyStoreError, ConfigError, StorageError: a file cannot be used; names the cure.
    """
    with open_witness(root) as witness:
        # Also where no witness runs: silence must not stay unnoticed because nobody serves.
        witness.watch()
        seen, pins, raised = witness.store.all_latest(), witness.pins.all(), witness.alarms.all()
        keys = [key.format() for key in witness.keys]
    return {
        "keys": keys,
        "logs": [_log_fields(pin, seen) for pin in pins],
        "alarms": [_alarm_fields(item) for item in raised],
        "open": sum(item.is_open for item in raised),
    }


def status_text(found: dict[str, Any]) -> str:
    """Write the status for people."""
    lines = [f"{len(found['logs'])} logs pinned, {found['open']} alarms open"]
    for log in found["logs"]:
        lines.append(f"  {log['log']}{' (every year)' if log['every_year'] else ''}")
        lines += [
            f"    {item['origin']}: size {item['size']}, {_when(item['at'])}"
            for item in log["cosigned"]
        ]
        if not log["cosigned"]:
            lines.append("    nothing cosigned yet")
    for alarm in found["alarms"]:
        state = "OPEN" if alarm["open"] else f"closed {_when(alarm['closed_at'])}"
        lines.append(f"  alarm {alarm['number']}: {alarm['kind']}, {_when(alarm['at'])}, {state}")
        lines.append(f"    {alarm['log']}: {alarm['text']}")
        lines += [f"    evidence: witness/evidence/{name}" for name in alarm["evidence"]]
        if not alarm["open"]:
            lines.append(f"    {alarm['reason']}")
    return "\n".join(lines)


def _log_fields(pin: Pin, seen: list[Seen]) -> dict[str, Any]:
    cosigned = [item for item in seen if pin.key_of(item.checkpoint.origin) is not None]
    return {
        "log": pin.name,
        "every_year": pin.every_year,
        "silence_s": pin.silence_s,
        "cosigned": [
            {
                "origin": item.checkpoint.origin,
                "size": item.checkpoint.size,
                "root": item.checkpoint.root.hex(),
                "at": item.at,
            }
            for item in cosigned
        ],
    }


def _alarm_fields(raised: Raised) -> dict[str, Any]:
    alarm = raised.alarm
    return {
        "number": raised.number,
        "kind": str(alarm.kind),
        "log": alarm.log,
        "size": alarm.size,
        "at": alarm.at,
        "text": alarm.text,
        "evidence": list(raised.evidence),
        "open": raised.is_open,
        "closed_at": raised.closed_at,
        "reason": raised.reason,
    }


def _when(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
