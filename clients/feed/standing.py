"""How a feed stands: what it holds, what is published, what waits. No hub is needed."""

from __future__ import annotations

import json
from typing import Any

from clients.feed.defects import refusal_table
from clients.feed.home import FeedHome
from clients.feed.publication import Publication
from clients.feed.publishing import keep_up
from clients.feed.register import Actor, Register
from clients.feed.roots import unevaluated
from clients.feed.states import state_name
from protocols.lookup.payload import Category


def describe(home: FeedHome, register: Register, actor: Actor) -> dict[str, Any]:
    """Let expiries have their effect, then count everything."""
    expired = keep_up(home, register, home.settings(), actor)
    publication = Publication(register)
    signed, pending = publication.published, publication.pending
    refusals = register.refusals()
    last = register.meta("input")
    return {
        "reports": [
            {
                "state": state_name(state),
                "category": Category(category).name.lower(),
                "count": count,
            }
            for state, category, count in register.counts()
        ],
        "canaries": register.canaries(),
        "expired_now": expired,
        "epoch": signed.header.epoch if signed else None,
        "version": signed.header.version if signed else 0,
        "records": signed.header.count if signed else 0,
        "published_at": signed.header.made_at if signed else None,
        "pending_version": pending.header.version if pending else None,
        "waiting": publication.waiting(),
        "unevaluated": unevaluated(register, signed.header.epoch if signed else 0),
        "last_input": json.loads(last) if last else None,
        "refusals": [
            {"row": one.row, "field": one.field, "rule": one.rule, "cure": one.cure}
            for one in refusals
        ],
        "refusal_table": refusal_table(refusals) if refusals else "",
    }


def describe_text(found: dict[str, Any]) -> str:
    """Write what `describe` found for people."""
    lines = [
        f"  {item['count']:>10,}  {item['state']:<10} {item['category']}"
        for item in found["reports"]
    ] or ["  no reports yet"]
    lines = ["Reports:", *lines, f"  {found['canaries']:>10,}  canaries"]
    if found["version"]:
        lines.append(
            f"Published: version {found['version']} of epoch {found['epoch']}, "
            f"{found['records']:,} records."
        )
    else:
        lines.append("Published: nothing yet in this epoch.")
    if found["pending_version"]:
        lines.append(f"Version {found['pending_version']} is on its way; publish sends it again.")
    lines.append(
        f"Waiting: {found['waiting']:,} records, of which {found['unevaluated']:,} identifiers "
        "are to be evaluated."
    )
    if found["refusals"]:
        lines += [f"Refused in the last input: {found['last_input']['refused']:,} rows",
                  found["refusal_table"]]  # fmt: skip
    return "\n".join(lines)
