"""Several reports on one identifier become one record for each slot.

Among the reports that are neither expired nor past their last month:

* The strongest status stands: confirmed, else reported; withdrawn only if every report was
  withdrawn, so that desks that had a hit learn of the correction.
* The reports of that status decide all else. Category and source are those of the one seen
  last. First is the earliest month, last the latest, expiry the latest.
* Use is the union over the deciding reports alone: a confirmed report for screening and
  an unconfirmed one for the counter must not make a confirmed one for the counter.
* A canary's record is one only as long as no real report names the same identifier.

Reports are ordered by their tokens where months are equal, so that the same reports give the
same record whatever the order in which they came.
"""

from __future__ import annotations

from collections.abc import Sequence

from clients.feed.entries import Entry
from protocols.lookup.payload import Payload, Slot, Status

_STRENGTH = (Status.CONFIRMED, Status.REPORTED, Status.WITHDRAWN)


def merge_reports(
    entries: Sequence[Entry], *, slot: Slot, contributor: int, reference: bytes, month: int
) -> Payload | None:
    """Return the record's payload, or None where nothing is to be said any more."""
    live = [
        entry for entry in entries if entry.state in _STRENGTH and entry.expires >= month
    ]  # fmt: skip
    live = [entry for entry in live if not entry.details.canary] or live
    if not live:
        return None
    status = next(one for one in _STRENGTH if any(entry.state is one for entry in live))
    deciding = sorted(
        (entry for entry in live if entry.state is status),
        key=lambda entry: (entry.details.last, entry.token),
    )
    newest = deciding[-1].details
    use = newest.use
    for entry in deciding:
        use |= entry.details.use
    return Payload(
        category=newest.category,
        source=newest.source,
        status=status,
        use=use,
        slot=slot,
        contributor=contributor,
        first=min(entry.details.first for entry in deciding),
        last=newest.last,
        expires=max(entry.expires for entry in deciding),
        reference=reference,
        canary=newest.canary,
    )
