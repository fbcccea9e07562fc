"""Nodes that lost their connection in a phase: each may come back within its grace.

Whoever has not come back by then has broken the phase off. A node that is away is said once
in the log, and once more when its grace is over.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from protocols.link import SILENT_GRACE_S, grace_s
from server.link.attachment import Attachment

LOOK_EVERY_S = 0.5
LOST = "its connection was lost"
_log = logging.getLogger("lianfang.link")


@dataclass(frozen=True, slots=True)
class _Loss:
    attachment: Attachment
    number: int
    allowed_s: float
    ends_at: float
    forget: Callable[[], None]


class Losses:
    """All parties of one service that are away; for any number of threads.

    Args:
        longest_s: the grace of one whose line was lost.
    """

    def __init__(self, longest_s: float = SILENT_GRACE_S) -> None:
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._losses: list[_Loss] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="link-losses", daemon=True)

    def start(self) -> None:
        """Look after them from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def note(self, attachment: Attachment, forget: Callable[[], None]) -> None:
        """Take in that a stream has ended; nothing to do if its party is done or has come back.

        Args:
            forget: called when nothing more depends on this stream.
        """
        if not attachment.resumable:
            forget()
            attachment.break_off(LOST)
            return
        lost = attachment.lose()
        if lost is None:
            forget()
            return
        number, silence_s = lost
        allowed_s = grace_s(silence_s, self._longest_s)
        _log.warning(
            "link: lost the connection of %s, which may come back for %g s",
            attachment.party,
            allowed_s,
        )
        with self._lock:
            self._losses.append(
                _Loss(attachment, number, allowed_s, monotonic() + allowed_s, forget)
            )

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            with self._lock:
                losses, self._losses = self._losses, []
            for loss in losses:
                self._settle(loss)

    def _settle(self, loss: _Loss) -> None:
        if not loss.attachment.is_away(loss.number):
            loss.forget()
        elif monotonic() < loss.ends_at:
            with self._lock:
                self._losses.append(loss)
        else:
            _log.warning("link: %s did not come back", loss.attachment.party)
            reason = f"{LOST} and not restored within {loss.allowed_s:g} s"
            loss.attachment.give_up(loss.number, reason)
            loss.forget()
