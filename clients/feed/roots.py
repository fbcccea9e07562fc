"""Asking for the roots of identifiers that are to be published, and keeping them sealed.

A root is asked for once per identifier and epoch, and kept in the register in the same
transaction that counts its batch as done: what was evaluated is never charged again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from clients.feed.register import Register
from clients.lookup.https import HubRefusedError
from protocols.link import TransportError
from protocols.lookup.benign import BenignList
from protocols.lookup.derivation import derive_root
from protocols.lookup.request import Purpose

QUOTA_EXHAUSTED = "quota_exhausted"
# Records that differ from what was published, of identifiers that may be published.
_WAITING = (
    " FROM identifiers i WHERE i.sealed IS NOT NULL AND i.shared = 0 AND i.epoch IS NOT ?"
    " AND EXISTS (SELECT 1 FROM records r"
    " WHERE r.identifier = i.id AND r.revision > r.published)"
)

OnProgress = Callable[[int, int], None]


class Evaluates(Protocol):
    """What is needed of `clients.lookup.evaluating.Evaluator`."""

    def evaluate(
        self,
        canonical: Sequence[bytes],
        *,
        purpose: Purpose,
        case: str = "",
        on_progress: OnProgress | None = None,
        on_outputs: Callable[[Sequence[bytes], Sequence[bytes]], None] | None = None,
    ) -> list[bytes]:
        """Return the outputs; hands each batch to `on_outputs`, which makes it durable."""
        ...


def unevaluated(register: Register, epoch: int) -> int:
    """Count the identifiers whose root in this epoch is still to be asked for."""
    (count,) = register.database.execute("SELECT COUNT(*)" + _WAITING, (epoch,)).fetchone()
    return int(count)


def evaluate_waiting(
    register: Register, evaluator: Evaluates, epoch: int, on_progress: OnProgress | None = None
) -> HubRefusedError | TransportError | None:
    """Ask for every missing root; returns why some are still missing, if some are.

    A spent quota, or holders that are away, must not hold back what needs no evaluation:
    withdrawals above all. So they are returned and not raised; what was evaluated is kept.

    Raises:
        HubRefusedError: refused for another reason than the quota.

    Privacy:
        Hub and holders learn how many identifiers are new, and nothing about any of them.
    """
    rows = register.database.execute("SELECT i.token, i.sealed" + _WAITING, (epoch,)).fetchall()
    if not rows:
        return None
    canonical = [register.canonical(token, sealed) for token, sealed in rows]

    def keep(inputs: Sequence[bytes], outputs: Sequence[bytes]) -> None:
        with register.transaction():
            for item, output in zip(inputs, outputs, strict=True):
                register.store_root(item, epoch, derive_root(epoch, output))

    try:
        evaluator.evaluate(
            canonical, purpose=Purpose.PUBLISH, on_progress=on_progress, on_outputs=keep
        )
    except HubRefusedError as error:
        if error.code != QUOTA_EXHAUSTED:
            raise
        return error
    except TransportError as error:
        return error
    return None


def mark_shared(register: Register, benign: BenignList | None) -> None:
    """Let a changed list of shared numbers hold for what was entered before.

    A record whose identifier comes onto the list is taken out of the table; one that
    leaves the list is put back.
    """
    rows = register.database.execute(
        "SELECT id, token, sealed, shared FROM identifiers WHERE sealed IS NOT NULL"
    ).fetchall()
    with register.transaction():
        for row, token, sealed, before in rows:
            after = benign is not None and benign.covers(register.canonical(token, sealed))
            if after != bool(before):
                register.set_shared(row, shared=after)
