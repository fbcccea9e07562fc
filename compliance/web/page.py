"""A page as a value: where it is, who may open it, what shows it and what its form does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import Response

from compliance.web.access import Access

if TYPE_CHECKING:
    from compliance.web.visit import Visit

Handler = Callable[["Visit"], Response | Awaitable[Response]]
"""Answers a visit: an ordinary function, which runs in a thread, or a coroutine function."""


@dataclass(frozen=True, slots=True)
class Page:
    """One address.

    Args:
        path: as Starlette writes it. An identifier of a person never stands in one.
        access: who may open it and send its form.
        show: answers GET; None if there is nothing to look at.
        act: answers POST, once the form was found to be ours; None if there is no form.
        fresh: whether the form needs a proof of who sends it from the last minutes.
        menu: the key of its text in the navigation; empty keeps it out.
        from_elsewhere: whether other sites send readers here, although nobody need be signed in.
    """

    path: str
    access: Access
    show: Handler | None = None
    act: Handler | None = None
    fresh: bool = False
    menu: str = ""
    from_elsewhere: bool = False

    def __post_init__(self) -> None:
        if self.show is None and self.act is None:
            raise ValueError(f"page {self.path}: neither shows nor does anything")

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the methods that it answers, HEAD aside."""
        return tuple(name for name, handler in (("GET", self.show), ("POST", self.act)) if handler)
