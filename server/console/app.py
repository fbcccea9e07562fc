"""The hub's console: the shared pages of signing in, over the hub's own accounts and log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from compliance.signin.pages.running import Serving, serving
from server.home import HubHome
from server.log.opening import open_log


@contextmanager
def hub_console(
    root: Path,
    *,
    host: str,
    port: int,
    certificate: Path | None = None,
    key: Path | None = None,
    demo: bool = False,
) -> Iterator[Serving]:
    """Serve the console of a hub until the block ends.

    Raises:
        ConfigError: as `compliance.signin.pages.running.serving`. LogCorruptError,
        StorageError: the hub's log cannot be used.
    """
    home, ending = HubHome(root), ExitStack()
    log = ending.enter_context(open_log(home))
    with serving(
        root, log.office, ending, host=host, port=port,
        certificate=certificate, key=key, demo=demo,
    ) as served:  # fmt: skip
        yield served
