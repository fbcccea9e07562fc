"""What the hub's doctor looks at of its partners: certificates, the epoch, who is there."""

from __future__ import annotations

from compliance.doctor.seen import DAY_S, PASS, WARN, Level, Seen, lasting
from compliance.errors import UnknownEpochError
from compliance.evaluations.store import EpochStore
from protocols.link import TransportError
from server.epochs.holding import FOLDER
from server.home import HubHome
from server.identity.issued import ISSUED
from server.keeping.partners import parse_object
from server.keeping.place import keeping_of
from server.standing.presence import fetch_presence

# Nodes renew by themselves when a third of 397 days is left: below that, one does not.
_SOON_S = 30 * DAY_S
_EPOCH_SOON_S = 3 * DAY_S


def partners_certificates(home: HubHome, now: int) -> Seen:
    """Whether the newest certificate of every partner lasts, in days."""
    partners = home.partners()
    until = dict.fromkeys(partners, 0)
    for serial, data in keeping_of(home.root).documents(ISSUED).all().items():
        line = parse_object(data, f"{ISSUED}/{serial}")
        name = str(line.get("name"))
        if name in until:
            until[name] = max(until[name], int(line["until"]))
    # Whoever brought a certificate of another authority along is in no list of ours.
    seen = {name: lasting(end - now, warn_s=_SOON_S) for name, end in until.items() if end}
    late = [f"{name} {one.found}" for name, one in seen.items() if one.level is not Level.PASS]
    if late:
        return Seen(WARN, "; ".join(sorted(late)))
    days = [(end - now) // DAY_S for end in until.values() if end]
    return Seen(PASS, f"the first ends in {min(days)} days" if days else "none issued here")


def epoch_lasts(home: HubHome, now: int) -> Seen:
    """Whether an epoch is in force, and for how long."""
    folder = home.root / FOLDER
    home.settings()
    if not folder.is_dir():
        return Seen(WARN, "none was ever begun: no lookups, no oblivious pseudonyms")
    try:
        found = EpochStore(folder).current(now)
    except UnknownEpochError:
        return Seen(WARN, "none is in force: no lookups are answered")
    age = (now - found.not_before) // DAY_S
    left = lasting(found.not_after - now, warn_s=_EPOCH_SOON_S)
    return Seen(left.level, f"epoch {found.epoch}, begun {age} days ago, {left.found}")


def absent_partners(home: HubHome) -> Seen:
    """Whether all partners are connected and take part, where the hub is being served."""
    try:
        found = fetch_presence(home)
    except TransportError:
        return Seen(WARN, "cannot be seen: the hub is not being served")
    away = [one.text() for one in found if not one.is_there]
    return Seen(WARN, "; ".join(away)) if away else Seen(PASS, f"all {len(found)}")
