"""Flower beside a hub that is being served: kept up, its partners registered.

Lookups do not need it. A SuperLink that does not start, or that dies, is told in the log and
started again, less and less often; what a person at a counter asks is answered meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from compliance.backoff import Backoff
from server.home import HubHome
from server.training.control import ControlClient, SuperLinkError

if TYPE_CHECKING:
    from server.training.superlink import SuperLink

AGAIN_FIRST_S, AGAIN_LONGEST_S = 2.0, 60.0
_log = logging.getLogger("lianfang.flower")


class Attendant:
    """Looks after one SuperLink; for one thread, which asks it again and again."""

    def __init__(
        self, home: HubHome, superlink: SuperLink, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._home, self._superlink, self._clock = home, superlink, clock
        self._backoff = Backoff(AGAIN_FIRST_S, AGAIN_LONGEST_S)
        self._not_before = self._started_at = clock()
        self._is_up = False
        self._registered: set[str] | None = None

    def look(self) -> bool:
        """Start what is down, with the certificate of now, and register who has joined.

        A certificate that was renewed is taken up once no run goes. What ended after it had
        lasted is started at once. Returns whether all is well.
        """
        if self._clock() < self._not_before:
            return False
        if self._is_up and self._clock() - self._started_at > AGAIN_LONGEST_S:
            self._backoff.reset()
        elif self._is_up and self._superlink.pid is None:
            return self._put_off("superlink: ended soon after its start")
        try:
            self._look()
        except SuperLinkError as error:
            return self._put_off(str(error))
        self._is_up = True
        return True

    def _put_off(self, why: str) -> bool:
        wait_s = self._backoff.wait_s()
        self._not_before = self._clock() + wait_s
        self._is_up, self._registered = False, None
        _log.warning("%s; lookups go on, runs do not; trying again in %.0f s", why, wait_s)
        return False

    def _look(self) -> None:
        if self._superlink.take_up_renewal():
            _log.info("superlink: started")
            self._started_at = self._clock()
            # Its database may be a new one.
            self._registered = None
        partners = set(self._home.partners())
        if partners != self._registered:
            register_partners(self._home, self._superlink.control)
            self._registered = partners


def register_partners(home: HubHome, control: ControlClient) -> None:
    """Register every approved partner's SuperNode key and forget all others; safe to repeat.

    A SuperNode that dials in before its key is registered waits longer and longer between
    its attempts, so this is done as soon as a partner has been approved.
    """
    partners = home.partners()
    for name in set(control.nodes()) - set(partners):
        control.unregister(name)  # revoked
    for name, partner in partners.items():
        control.register(name, partner["flower_public"].encode())
