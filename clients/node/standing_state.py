"""Whether this node takes part: it does, is paused, or has left for good.

NODE/node-state.json says so; without the file the node takes part. A file that cannot be read
stops the node: nobody may go on because a pause was damaged. Runs that were accepted before
are not asked again, so they end normally.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from clients.node.files import store_json
from clients.node.home import Home
from compliance.configuration import ConfigError, check_fields, read_object, typed
from compliance.errors import ComplianceError
from protocols.codec import canonical_json

FILE = "node-state.json"
MAX_REASON = 500
_FIELDS = {"standing", "reason", "since", "holder"}


class PausedError(ComplianceError):
    """The node is paused; the text holds its reason, for the hub and the partners to read."""

    code: ClassVar[str] = "paused"


class LeftError(ComplianceError):
    """The node has left for good."""

    code: ClassVar[str] = "left"


class Standing(StrEnum):
    """How a node stands to the joint work."""

    TAKING_PART = "taking_part"
    PAUSED = "paused"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class State:
    """How this node stands, since when and why.

    Args:
        reason: for the hub and the partners to read, without a word about a person.
        since: Unix seconds; 0 where nothing was ever said.
        holder: whether the pause is the key holder's as well.
    """

    standing: Standing = Standing.TAKING_PART
    reason: str = ""
    since: int = 0
    holder: bool = False

    def objection(self) -> ComplianceError | None:
        """Return what stands against every new run; None if nothing does."""
        match self.standing:
            case Standing.TAKING_PART:
                return None
            case Standing.PAUSED:
                return PausedError(f"this partner has paused: {self.reason}")
            case Standing.LEFT:
                return LeftError(f"this partner has left: {self.reason}")

    def holder_objection(self) -> ComplianceError | None:
        """Return what stands against answering as a key holder; None if nothing does."""
        if self.standing is Standing.PAUSED and not self.holder:
            return None
        return self.objection()


def state_of(home: Home) -> State:
    """Read how the node stands.

    Raises:
        ConfigError: the file is damaged; the node then does nothing new.
    """
    path = home.root / FILE
    if not path.exists():
        return State()
    value = read_object(path)
    check_fields(value, _FIELDS, FILE)
    try:
        standing = Standing(typed(value, "standing", str, FILE))
    except ValueError as error:
        known = ", ".join(Standing)
        raise ConfigError(f"{FILE}: standing must be one of {known}; correct it") from error
    holder = value["holder"]
    if not isinstance(holder, bool):
        raise ConfigError(f"{FILE}: holder must be true or false; correct it")
    reason, since = typed(value, "reason", str, FILE), typed(value, "since", int, FILE)
    return State(standing, reason, since, holder)


def keep_state(home: Home, state: State) -> None:
    """Replace the state; durable when this returns."""
    store_json(
        home.root / FILE,
        {
            "standing": state.standing.value,
            "reason": state.reason,
            "since": state.since,
            "holder": state.holder,
        },
    )


def require_taking_part(home: Home) -> None:
    """Return only if the node takes part in new runs.

    Raises:
        PausedError, LeftError: with the reason. ConfigError: the state is damaged.
    """
    if (found := state_of(home).objection()) is not None:
        raise found


def require_answering(home: Home) -> None:
    """Return only if the node answers, and takes new shares, as a key holder.

    Raises:
        PausedError, LeftError: with the reason. ConfigError: the state is damaged.
    """
    if (found := state_of(home).holder_objection()) is not None:
        raise found


def standing_objection(home: Home) -> tuple[str, str] | None:
    """Return code and reason of what stands against every new run, as a policy's rule does.

    Raises:
        ConfigError: the state is damaged.
    """
    found = state_of(home).objection()
    return None if found is None else (found.code, str(found))


def presence(home: Home) -> bytes:
    """Return what a hub is told that asks how this node stands: canonical JSON.

    Raises:
        ConfigError: the state is damaged.
    """
    state = state_of(home)
    told: dict[str, Any] = {
        "standing": state.standing.value,
        "reason": state.reason,
        "since": state.since,
        "holder": state.holder_objection() is None,
    }
    return canonical_json(told)


def check_reason(reason: str) -> str:
    """Return a reason that others can read, trimmed.

    Raises:
        ConfigError: it is empty, too long, or not one printable line.
    """
    text = reason.strip()
    if not 1 <= len(text) <= MAX_REASON or not text.isprintable():
        raise ConfigError(
            f"--reason: needs 1 to {MAX_REASON} characters in one line; say why, for the hub "
            "and the partners to read, and name no person"
        )
    return text
