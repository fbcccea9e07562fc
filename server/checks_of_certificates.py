"""What the hub's doctor looks at of certificates that others have brought along."""

from __future__ import annotations

from pathlib import Path

from compliance.doctor.certificates import certificate_lasts
from compliance.doctor.seen import DAY_S, PASS, Level, Seen, lasting
from server.home import HubHome, unix_now
from server.identity.public import PUBLIC
from server.identity.trusted import TrustedAuthorities

# Another authority must be exchanged between people, and decided about by two.
_SOON_S = 60 * DAY_S


def public_lasts(authority: Path) -> Seen:
    """Whether the certificate for public names lasts, if one was brought along."""
    if not (authority / PUBLIC).exists():
        return Seen(PASS, "none was brought along")
    return certificate_lasts(authority / PUBLIC, unix_now())


def trusted_last(home: HubHome, now: int) -> Seen:
    """Whether every authority that is trusted for one partner lasts."""
    found = {
        trust.partner: min(item.not_valid_after_utc.timestamp() for item in trust.certificates)
        for trust in TrustedAuthorities(home.root, home.settings().name).all()
    }
    if not found:
        return Seen(PASS, "the hub's own alone is trusted")
    seen = {name: lasting(int(end) - now, warn_s=_SOON_S) for name, end in found.items()}
    late = {name: one for name, one in seen.items() if one.level is not Level.PASS}
    if not late:
        return Seen(PASS, f"{len(found)} are trusted, each for one partner")
    worst = min(late, key=lambda name: found[name])
    return Seen(late[worst].level, "; ".join(f"{name} {late[name].found}" for name in sorted(late)))
