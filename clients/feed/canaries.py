"""Identifiers that belong to nobody here: who asks about one is guessing numbers.

A canary is a national number with a right check digit, drawn at random, that no report in
this register names. It is published like any other record, with a payload that says what
it is to whoever could open it. A partner that asks only about its own customers meets one
about as often as a number drawn at random is one of its customers', so that hits beyond
that show an enumeration.

A number drawn at random may have been given to somebody: of the 5.2 x 10^8 with a right check
digit about one in twenty was. A canary's record is therefore never a mark against anyone.
"""

from __future__ import annotations

from clients.feed.entries import last_month
from clients.feed.home import Settings
from clients.feed.permitting import Enter
from clients.feed.register import Actor, Register
from clients.feed.reports import Report
from protocols.identifiers import IdentifierKind, canonicalize, national_checksum
from protocols.lookup.payload import Category, Slot, Status, month_of
from protocols.oprf.suite import Random

MAX_COUNT = 100_000
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SEXES = "12"
_SERIALS = 10**7


def make_canaries(
    register: Register,
    count: int,
    settings: Settings,
    actor: Actor,
    random: Random,
    *,
    enter: Enter,
) -> None:
    """Enter canaries, to be published with what else waits.

    Args:
        enter: enters into the log how many there are, before any stands here.
    """
    month = month_of(actor.now)
    expires = last_month(month, settings.retention[Category.OTHER], None)
    with register.transaction():
        for _ in range(count):
            register.enter(_canary(register, settings, month, random), expires, actor)
        enter(count)


def _canary(register: Register, settings: Settings, month: int, random: Random) -> Report:
    canonical = _draw(random)
    while register.has(canonical):
        canonical = _draw(random)
    return Report(
        report_id=f"canary-{random(16).hex()}",
        canonical=canonical,
        slot=Slot.SUSPECT,
        category=Category.OTHER,
        source=settings.source,
        status=Status.REPORTED,
        first=month,
        last=month,
        use=settings.use,
        canary=True,
    )


def _draw(random: Random) -> bytes:
    """Return a national number, uniform among those with a right check digit."""
    drawn = int.from_bytes(random(16), "big")
    drawn, letter = divmod(drawn, len(_LETTERS))
    drawn, sex = divmod(drawn, len(_SEXES))
    stem = f"{_SEXES[sex]}{drawn % _SERIALS:07d}"
    digit = next(x for x in "0123456789" if not national_checksum(_LETTERS[letter], stem + x))
    return canonicalize(IdentifierKind.TW_NATIONAL_ID, _LETTERS[letter] + stem + digit)
