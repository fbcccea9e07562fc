"""The hub's program, as the commands know it that a node has too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from compliance.commands.program import Program

if TYPE_CHECKING:
    from compliance.office.office import Office

# What opens a hub is loaded by the command that opens one, so that help comes at once.


def _check(directory: Path) -> object:
    from server.home import HubHome  # noqa: PLC0415  see above

    return HubHome(directory).settings()


@contextmanager
def _office(directory: Path) -> Iterator[Office]:
    from server.home import HubHome  # noqa: PLC0415  see above
    from server.log.opening import open_log  # noqa: PLC0415  see above

    with open_log(HubHome(directory)) as log:
        yield log.office


PROGRAM = Program("lianfang-hub", "lianfang-hub console", _check, _office)
