"""Which partners are there, and whether they take part: asked of each over its standing stream.

    hub process   `Presences`: asks every node that is connected, all at once, for a short time
    any process   `fetch_presence`, over the control call; `absentees` says whom a run would miss

What a node says of itself is its own word: it is shown to the operator, and spares everybody a
run into a refusal. The node decides again when it is asked for the run itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from protocols.codec import parse_json
from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from server.link.control import call_control
from server.standing.registry import HolderRefusedError, Standing

if TYPE_CHECKING:
    from server.home import HubHome

ACTION = "presence"
QUESTION = "node.presence"
_ANSWER_S = 3.0
_CALL_S = 10.0
_LOOK_EVERY_S = 0.5
_MOST_AT_ONCE = 16
_TAKING_PART = "taking_part"
# What a node refuses that was not made to be asked.
_UNKNOWN = "unknown_question"
_STANDINGS = frozenset({_TAKING_PART, "paused", "left"})
_MAX_REASON = 500
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class Presence:
    """How one partner stands at this moment.

    Args:
        standing: what the node says: taking_part, paused or left; empty if it does not answer.
        reason: the node's own sentence about that, or why it does not answer.
        since: Unix seconds of its pause; 0 without one.
        seen_s: seconds since anything came from it; None: never since this hub was started.
    """

    name: str
    connected: bool
    standing: str = ""
    reason: str = ""
    since: int = 0
    seen_s: float | None = None

    @property
    def is_there(self) -> bool:
        """Report whether it can be asked for a run."""
        return self.connected and self.standing == _TAKING_PART

    def text(self) -> str:
        """Return one line for people."""
        seen = "not seen since the hub was started" if self.seen_s is None else _ago(self.seen_s)
        if self.standing == _TAKING_PART:
            return f"{self.name}: there, {seen}"
        if self.standing:
            day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(self.since))
            return f"{self.name}: {self.standing} since {day} UTC: {self.reason}"
        return f"{self.name}: {self.reason or 'away'}; {seen}"


class Presences:
    """Asks the nodes of a hub that is being served how they stand; for any number of threads."""

    def __init__(self, standing: Standing, partners: Callable[[], Iterable[str]]) -> None:
        self._standing = standing
        self._partners = partners

    def control(self) -> dict[str, Any]:
        """Answer the control request: every partner that has joined."""
        return {"partners": [asdict(found) for found in self.all()]}

    def all(self) -> list[Presence]:
        """Ask everybody at once; takes no longer than one of them may."""
        names = sorted(self._partners())
        with ThreadPoolExecutor(max(1, min(_MOST_AT_ONCE, len(names)))) as pool:
            return list(pool.map(self._one, names))

    def _one(self, name: str) -> Presence:
        connected, said = True, ("", "", 0)
        try:
            said = _read(self._standing.ask(name, QUESTION, b"", _ANSWER_S))
        except TransportError as error:
            connected = name in self._standing.connected()
            said = ("", str(error).removeprefix(f"{name}: "), 0)
        except HolderRefusedError as error:
            # One that does not know the question is there; any other reason is told.
            said = (_TAKING_PART if error.code == _UNKNOWN else "", error.text, 0)
        except MalformedMessageError as error:
            said = ("", str(error), 0)
        standing, reason, since = said
        return Presence(name, connected, standing, reason, since, self._standing.seen_s(name))


def fetch_presence(home: HubHome) -> list[Presence]:
    """Ask the hub process who is there.

    Raises:
        TransportError: the hub is not being served, or is of a version that cannot tell.
    """
    settings = home.settings()
    answer = call_control(
        f"{settings.host}:{settings.link_port}",
        {"action": ACTION},
        authority=home.authority / "ca.crt",
        certificate=home.authority / "hub.pem",
        key=home.authority / "hub.key",
        timeout_s=_CALL_S,
    )
    return [Presence(**found) for found in answer["partners"]]


def absentees(found: Iterable[Presence], nodes: Collection[str]) -> list[Presence]:
    """Return those of the partners of a run that are not there, or take part in nothing."""
    known = {presence.name: presence for presence in found}
    wanted = [known.get(name, Presence(name, connected=False)) for name in nodes]
    return [presence for presence in wanted if not presence.is_there]


def await_present(
    ask: Callable[[], Sequence[Presence]],
    nodes: Sequence[str],
    *,
    enough: Callable[[tuple[str, ...]], bool],
    wait_s: float,
    tell: Callable[[str], object],
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Return once all partners of a run are there, or those with whom it makes sense.

    Args:
        enough: whether the run makes sense with these partners alone.
        wait_s: how long to wait for the others; 0 waits for nobody.
        tell: is given the line of everybody who is missing, whenever that changes.

    Raises:
        TransportError: they are not there in time; names each, and what to do.
    """
    ends_at = time.monotonic() + wait_s
    told: list[str] = []
    while True:
        missing = absentees(ask(), nodes)
        lines = [presence.text() for presence in missing]
        if _shown(missing) != told:
            told = _shown(missing)
            for line in lines:
                tell(line)
        left = tuple(name for name in nodes if name not in {gone.name for gone in missing})
        if not missing or enough(left):
            return
        if time.monotonic() >= ends_at:
            raise TransportError(
                f"run: not started, since not everybody is there: {'; '.join(lines)}. Tell them, "
                "and repeat the command, or let it wait with --wait SECONDS",
                retryable=True,
            )
        sleep(_LOOK_EVERY_S)


def _shown(missing: Sequence[Presence]) -> list[str]:
    """Return what of the absent would be news: not how many seconds ago they were seen."""
    return [f"{gone.name} {gone.standing} {gone.reason}" for gone in missing]


def _read(answer: bytes) -> tuple[str, str, int]:
    """Read what a node says of itself; its words go to a terminal."""
    value = parse_json(answer, "presence")
    fields: Mapping[str, Any] = value if isinstance(value, dict) else {}
    match {name: fields.get(name) for name in ("standing", "reason", "since")}:
        case {"standing": str(standing), "reason": str(reason), "since": int(since)} if (
            standing in _STANDINGS
            and len(reason) <= _MAX_REASON
            and reason.isprintable()
            and 0 <= since < 1 << 40
        ):
            return standing, reason, since
    raise MalformedMessageError("presence: standing, reason or since is not what it must be")


def _ago(seconds: float) -> str:
    for size, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= 2 * size:
            return f"last seen {int(seconds // size)} {unit} ago"
    return f"last seen {int(seconds)} s ago"
