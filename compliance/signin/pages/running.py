"""Serving a console, as the commands of node and hub do it: where it is, and how to reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from compliance.agreement.vocabulary import Title
from compliance.clock import Clock, SystemClock
from compliance.office.office import Office
from compliance.office.titles import titles_at
from compliance.signin.pages.assembling import Console, open_console
from compliance.signin.settings import read_settings
from compliance.signin.signin import SignIn
from compliance.web.certificates import HOST, Certificate, local_certificate
from compliance.web.page import Page
from compliance.web.serving import SiteServer, listen

LOOPBACK = "127.0.0.1"
_HTTPS = 443


@dataclass(frozen=True, slots=True)
class Serving:
    """A console that is being served.

    Args:
        fingerprint: of a certificate that only this machine made; else empty.
    """

    console: Console
    address: str
    port: int
    fingerprint: str

    def told(self) -> dict[str, str | int]:
        """Return it as JSON."""
        found: dict[str, str | int] = {"address": self.address, "port": self.port}
        return found | ({"fingerprint": self.fingerprint} if self.fingerprint else {})

    def lines(self) -> str:
        """Say where it is, and how to reach it."""
        found = [f"Open {self.address}/"]
        if self.fingerprint:
            found += [
                "The certificate was made here; the browser asks once. SHA-256:",
                f"  {self.fingerprint}",
                f"From another machine: ssh -L {self.port}:{HOST}:{self.port} THIS-MACHINE, "
                "then the same address.",
            ]
        return "\n".join(found)


@contextmanager
def serving(
    root: Path,
    office: Office,
    ending: ExitStack,
    *,
    title: Title | None = None,
    host: str = LOOPBACK,
    port: int,
    certificate: Path | None = None,
    key: Path | None = None,
    clock: Clock | None = None,
    pages: Callable[[SignIn], Iterable[Page]] = lambda _: (),
    packages: Sequence[str] = (),
    demo: bool = False,
) -> Iterator[Serving]:
    """Serve the console of a directory until the block ends.

    Args:
        title: what its people call the organisation; as the agreement does if None.
        ending: what is given back at the end, such as the office.
        host: at which it listens; the loopback unless a certificate was given.
        certificate, key: as PEM; made here for localhost if None.
        pages, packages: as `open_console`.

    Raises:
        ConfigError: signin.json, the certificate or the port cannot be used.
    """
    with ending:
        settings = read_settings(root)
        listener = listen(host, port)
        ending.callback(listener.close)
        bound: int = listener.getsockname()[1]
        own = certificate is None or key is None
        made = (
            local_certificate(root / "console", (clock or SystemClock()).now())
            if certificate is None or key is None
            else Certificate(certificate, key)
        )
        origin = settings.origin or _local(bound)
        console = open_console(
            root, office, title=title or titles_at(office)(office.name), origin=origin,
            settings=settings, ending=ending.pop_all(), pages=pages, packages=packages, demo=demo,
        )  # fmt: skip
        with console:
            server = SiteServer(console.site.app())
            server.start(listener, made)
            try:
                yield Serving(console, origin, bound, made.fingerprint if own else "")
            finally:
                server.stop()


def _local(port: int) -> str:
    return f"https://{HOST}" if port == _HTTPS else f"https://{HOST}:{port}"
