"""What a process does, told to whoever measures it: one call around each piece of work.

    with observer.during(Evaluation("counter", 3)):
        ...

An observer never changes what is done: it raises nothing of its own and swallows nothing. It
learns organisations, purposes, kinds and numbers; a person, a case, an identifier or the number
of a request cannot be said in these values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

DONE = "done"
UNKNOWN = "internal_error"
_CODE = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(slots=True)
class Request:
    """One request at the API; operation and status are known when it has been served.

    Args:
        operation: the operation's id in the API's description, `none` if there is no such route.
        route: its template, never the path.
        role: of the caller in the agreement in force, `none` if it is no party.
        status: 499 if the client was gone before there was an answer.
    """

    operation: str = "none"
    route: str = ""
    role: str = "none"
    status: int = 499


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One signed request being evaluated at the hub; `elements` are what it asks for."""

    purpose: str
    elements: int


@dataclass(frozen=True, slots=True)
class Ask:
    """One question of the hub to a holder."""

    holder: str
    kind: str


@dataclass(frozen=True, slots=True)
class Answering:
    """One question of the hub being answered by a holder."""

    kind: str


@dataclass(frozen=True, slots=True)
class Append:
    """One entry being made durable in the organisation's log."""


Work = Request | Evaluation | Ask | Answering | Append


class Observes(Protocol):
    """Measures work; may be called by any number of threads."""

    def during(self, work: Work) -> AbstractContextManager[None]:
        """Stand around a piece of work, from its beginning to its end or its exception."""
        ...


class _Unobserved:
    def during(self, _work: Work) -> AbstractContextManager[None]:
        return nullcontext()


UNOBSERVED: Observes = _Unobserved()
"""Measures nothing."""


class Observers:
    """Several observers as one; the first is the outermost."""

    def __init__(self, observers: Sequence[Observes]) -> None:
        self._observers = tuple(observers)

    @contextmanager
    def during(self, work: Work) -> Iterator[None]:
        """As `Observes.during`."""
        with ExitStack() as stack:
            for observer in self._observers:
                stack.enter_context(observer.during(work))
            yield


def together(observers: Sequence[Observes]) -> Observes:
    """Return one observer for these; none measure nothing."""
    if not observers:
        return UNOBSERVED
    return observers[0] if len(observers) == 1 else Observers(observers)


def outcome_of(error: BaseException) -> str:
    """Return the stable name of a failure, as a metric or span may have it.

    An instance's own code may be another organisation's word, of which there are as many as it
    likes: only what our class says of itself is taken, and `refused` for a holder's refusal.
    """
    code = getattr(type(error), "code", None)
    if isinstance(code, str) and _CODE.fullmatch(code):
        return code
    return "refused" if isinstance(getattr(error, "code", None), str) else UNKNOWN
