"""Whom a publication has reached: every reader's own signed word, asked of the hub."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from clients.feed.home import FeedHome
from clients.feed.publication import Publication
from clients.keys import credentials
from clients.lookup.acknowledging import readership
from clients.lookup.api import HubApi
from clients.lookup.trust import Trust
from compliance.configuration import ConfigError


def who_applies(home: FeedHome) -> dict[str, Any]:
    """Ask who applies the version that this register published last.

    Raises:
        ConfigError: nothing is published yet.
        TransportError, HubRefusedError: the hub cannot be asked.
    """
    register = home.register()
    try:
        signed = Publication(register).published
    finally:
        register.close()
    if signed is None:
        raise ConfigError("feed: nothing is published yet; run `lianfang feed publish` first")
    header, node = signed.header, home.node
    with HubApi(node.config().api, credentials(node.keys)) as api:
        found = readership(api, Trust(node), header.epoch, header.version)
    return {
        "epoch": header.epoch,
        "version": header.version,
        "behind": found.behind,
        "refused": found.refused,
        "readers": [
            {
                "reader": name,
                "version": 0 if said is None else said.version,
                "applied_at": None if said is None else said.applied_at,
            }
            for name, said in sorted(found.applied.items())
        ],
    }


def readers_text(found: dict[str, Any]) -> str:
    """Write what `who_applies` found for people."""
    lines = [f"Version {found['version']} of epoch {found['epoch']}:"]
    for item in found["readers"]:
        if not item["version"]:
            lines.append(f"  {item['reader']:<16} has said nothing")
            continue
        at = datetime.fromtimestamp(item["applied_at"], UTC).isoformat(timespec="minutes")
        late = "" if item["version"] >= found["version"] else ", behind"
        lines.append(f"  {item['reader']:<16} applies version {item['version']} since {at}{late}")
    lines += [f"  {name}: its word does not hold: {why}" for name, why in found["refused"].items()]
    return "\n".join(lines)
