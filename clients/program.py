"""A node's program, as the commands know it that the hub has too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compliance.commands.program import Program

if TYPE_CHECKING:
    from compliance.office.office import Office

# What opens a node is loaded by the command that opens one, so that help comes at once.


def _check(directory: Path) -> object:
    from clients.node.home import Home  # noqa: PLC0415  see above

    return Home(directory).config()


def _office(directory: Path) -> Office:
    from clients.node.home import Home  # noqa: PLC0415  see above
    from clients.office import node_office  # noqa: PLC0415  see above

    return node_office(Home(directory))


PROGRAM = Program("lianfang", "lianfang node console", _check, _office)
