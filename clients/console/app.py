"""A node's console: the shared pages of signing in, over the node's own accounts and log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clients.node.home import Home
from clients.office import node_office
from compliance.signin.pages.running import Serving, serving


@contextmanager
def node_console(
    root: Path,
    *,
    host: str,
    port: int,
    certificate: Path | None = None,
    key: Path | None = None,
    demo: bool = False,
) -> Iterator[Serving]:
    """Serve the console of a node until the block ends.

    Raises:
        ConfigError: as `compliance.signin.pages.running.serving`. LogCorruptError,
        StorageError: the node's log cannot be used.
    """
    ending = ExitStack()
    office = ending.enter_context(node_office(Home(root)))
    with serving(
        root, office, ending, host=host, port=port,
        certificate=certificate, key=key, demo=demo,
    ) as served:  # fmt: skip
        yield served
