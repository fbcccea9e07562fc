"""Pausing a node, and taking part again: decided and entered before it is so.

While a node is paused it refuses every new run with its reason, and, if that is wished,
answers no evaluation as a key holder. What was accepted before ends normally.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients.node.files import exclusive
from clients.node.home import Home
from clients.node.standing_state import (
    LeftError,
    Standing,
    State,
    check_reason,
    keep_state,
    state_of,
)
from compliance.configuration import ConfigError
from compliance.office.about import About
from compliance.office.office import Office
from protocols.tlog.entry import Verb

if TYPE_CHECKING:
    from compliance.staff.acting import Acting

# Who may refuse one run may refuse all of them, and may end that again.
ACT = "refuse_run"


def pause(home: Home, office: Office, who: Acting, *, reason: str, holder: bool) -> State:
    """Refuse every new run from now on; durable when this returns.

    Args:
        reason: for the hub and the partners to read; a repeated pause replaces it.
        holder: whether evaluations are no longer answered either.

    Raises:
        NotPermittedError: this actor may not; that is entered. LeftError: the node has left.
        ConfigError: no reason that can be read.
    """
    text = check_reason(reason)
    with exclusive(home.root):
        before = state_of(home)
        _check_not_left(before)
        stage = "paused-with-holder" if holder else "paused"
        who.perform(office, ACT, _about(office, stage, text), what="pause this node")
        began = before.since if before.standing is Standing.PAUSED else office.clock.now()
        state = State(Standing.PAUSED, text, began, holder)
        keep_state(home, state)
    return state


def resume(home: Home, office: Office, who: Acting) -> State:
    """Take part again, as policies and agreement say; durable when this returns.

    Raises:
        NotPermittedError: this actor may not; that is entered. LeftError: the node has left.
        ConfigError: it is not paused.
    """
    with exclusive(home.root):
        before = state_of(home)
        _check_not_left(before)
        if before.standing is not Standing.PAUSED:
            raise ConfigError("node: it is not paused; nothing is to be resumed")
        about = _about(office, "resumed", "takes part again")
        who.perform(office, ACT, about, what="let this node take part again")
        state = State(since=office.clock.now())
        keep_state(home, state)
    return state


def _about(office: Office, stage: str, reason: str) -> About:
    return About(
        Verb.ALTER,
        f"taking-part/{stage}",
        subject=f"{office.name} {stage}",
        reason=reason,
    )


def _check_not_left(state: State) -> None:
    if state.standing is Standing.LEFT:
        raise LeftError("node: it has left for good; join as a new node in another directory")
