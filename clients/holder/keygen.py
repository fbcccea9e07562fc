"""The holder's part in key set-ups: judged by its own policy, run over the hub's relay.

The shares travel sealed to the other holders under keys that the holders' identities have
signed, so that the relay carries nothing it could read or change.
"""

from __future__ import annotations

from clients.holder.home import HolderHome
from clients.holder.permitting import Permitting
from clients.keys import credentials
from clients.node.standing_state import require_answering
from clients.transport import Link
from compliance.errors import NotPermittedError
from compliance.evaluations.setups import KeySetups
from compliance.evaluations.store import EpochStore
from protocols.epoch.manifest import SignedManifest
from protocols.epoch.orders import PHASE, EndOrder, RunOrder
from protocols.epoch.setup import KeygenTerms
from protocols.errors import ProtocolError
from protocols.oprf.records import KeyShare
from protocols.program import Receive, Request, Send, drive


class HolderKeygen:
    """Answers the hub's orders about epochs.

    Args:
        deadline_s: the longest that a set-up may wait for another holder.
    """

    def __init__(
        self,
        home: HolderHome,
        setups: KeySetups,
        store: EpochStore,
        permitting: Permitting,
        *,
        deadline_s: float,
    ) -> None:
        self._home = home
        self._setups = setups
        self._store = store
        self._permitting = permitting
        self._deadline_s = deadline_s

    def announce(self, body: bytes) -> bytes:
        """Agree to the terms of a set-up, or refuse with the reason.

        Raises:
            NotPermittedError: this holder's policy, the agreement, or an epoch that it knows,
                says no.
            ConfigError: the policy cannot be read.
        """
        terms = KeygenTerms.decode(body)
        hub = self._home.hub_name()
        if terms.hub != hub:
            raise NotPermittedError(f"hub: this holder belongs to {hub}")
        self._home.policy().judge(terms, known=self._home.known())
        self._permitting.share(terms)
        return self._setups.announce(terms)

    def run(self, body: bytes) -> bytes:
        """Take part in a set-up that was announced; returns record and signature.

        Raises:
            TransportError: the hub or another holder broke off.
            RogueHolderError, WrongShareError: a holder broke the rules; it is named.
        """
        require_answering(self._home.node)
        terms, program = self._setups.begin(RunOrder.decode(body))
        config = self._home.config()
        link = Link(
            config.link, credentials(self._home.node.keys), terms.run, PHASE, self._deadline_s
        )
        share: KeyShare | ProtocolError
        with link:
            try:
                share = drive(program, lambda request: _perform(link, request))
            except ProtocolError as error:
                # What we sent must still arrive: it may be what shows who is at fault.
                share = error
        if isinstance(share, ProtocolError):
            raise share
        return self._setups.sign(terms, share).encode()

    def activate(self, body: bytes) -> bytes:
        """Put a share in use whose manifest all holders have signed; returns its digest."""
        require_answering(self._home.node)
        return self._setups.activate(SignedManifest.parse(body)).digest

    def end(self, body: bytes) -> bytes:
        """Destroy our share of an epoch; may be repeated."""
        order = EndOrder.decode(body)
        self._store.destroy_share(order.epoch)
        return order.epoch.to_bytes(8, "big")


def _perform(link: Link, request: Request) -> bytes | None:
    match request:
        case Send(to, payload):
            link.send(to, payload)
        case Receive(sender):
            return link.receive(sender)
    return None
