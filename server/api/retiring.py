"""Operations that will go away: since when nobody should call them, and when they end.

One table, by operation id. What stands in it is marked `deprecated` in the OpenAPI document, and
every answer of it, refusals included, says so in its head. Nothing is refused because of it:
an operation that has ended is taken out of the code and of this table in one change.

Specification: RFC 9745 (Deprecation), section 2; RFC 8594 (Sunset), section 3; RFC 8288 (Link).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate


@dataclass(frozen=True, slots=True)
class Retirement:
    """The end of one operation.

    Args:
        deprecated_at: since when callers should use something else, Unix seconds.
        ends_at: from when on it may no longer be there; not before `deprecated_at`.
        page: where people read what to do instead, an absolute address or one below this host.
        successor: the path of what to call instead; empty if there is nothing.
    """

    deprecated_at: int
    ends_at: int
    page: str
    successor: str = ""

    def __post_init__(self) -> None:
        if self.ends_at < self.deprecated_at:
            raise ValueError("retirement: must not end before it is announced (RFC 9745, 4)")

    def headers(self) -> dict[str, str]:
        """Return what every answer of the operation says."""
        links = [f'<{self.page}>; rel="deprecation"; type="text/html"']
        if self.successor:
            links.append(f'<{self.successor}>; rel="successor-version"')
        return {
            "Deprecation": f"@{self.deprecated_at}",
            "Sunset": formatdate(self.ends_at, usegmt=True),
            "Link": ", ".join(links),
        }


# None is deprecated in version 1 of the API.
RETIRING: Mapping[str, Retirement] = {}
