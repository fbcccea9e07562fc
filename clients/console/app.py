"""A node's console: the pages of signing in, and the desk, over the node's own accounts and log."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clients.desk.pages.check import DeskPages
from clients.desk.pages.counter import Counter
from clients.node.home import Home
from clients.office import node_office
from compliance.signin.pages.running import Serving, serving
from compliance.signin.signin import SignIn
from compliance.web.page import Page


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
    counter = Counter(root, clock=office.clock)
    ending.callback(counter.close)

    def pages(door: SignIn) -> Iterable[Page]:
        return DeskPages(counter, office, door.register, os.urandom).pages()

    with serving(
        root, office, ending, host=host, port=port,
        certificate=certificate, key=key, demo=demo,
        pages=pages, packages=("clients.desk.pages",),
    ) as served:  # fmt: skip
        yield served
