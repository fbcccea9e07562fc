"""Putting a console together: the store, the door, its pages, and whatever pages come with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from compliance.agreement.vocabulary import Title
from compliance.office.office import Office
from compliance.signin.challenges import Challenges
from compliance.signin.entering import Entering
from compliance.signin.issuer.flow import Issuer
from compliance.signin.issuer.people import People
from compliance.signin.pages.account import AccountPages
from compliance.signin.pages.again import AgainPages
from compliance.signin.pages.door import DoorPages
from compliance.signin.pages.first import FirstPages
from compliance.signin.passkeys import Passkeys
from compliance.signin.register import Register
from compliance.signin.sessions import Limits, Sessions
from compliance.signin.settings import SignInSettings
from compliance.signin.signin import SignIn
from compliance.signin.store import SqliteSignIns
from compliance.signin.values import SignInStore
from compliance.staff.attempts import Attempts
from compliance.staff.staff import Staff
from compliance.web.page import Page
from compliance.web.site import Site
from compliance.web.sources import Sources
from compliance.web.visit import Known


@dataclass(slots=True)
class Console:
    """The screens of one organisation's staff, ready to be served; close it after use."""

    site: Site
    door: SignIn
    office: Office
    _ending: ExitStack = field(repr=False)

    def close(self) -> None:
        """Give store, issuer and office back."""
        self._ending.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Doorkeeper:
    sessions: Sessions

    def known(self, secret: bytes, now: int) -> Known | None:
        found = self.sessions.find(secret, now=now)
        if found is None:
            return None
        session, account = found
        return Known(account.name, account.display, account.roles, session.key, session.proved)

    def is_fresh(self, known: Known, now: int) -> bool:
        return self.sessions.is_fresh(known.proved, now=now)


def open_console(
    root: Path,
    office: Office,
    *,
    title: Title,
    origin: str,
    settings: SignInSettings,
    ending: ExitStack | None = None,
    pages: Callable[[SignIn], Iterable[Page]] = lambda _: (),
    packages: Sequence[str] = (),
    store: SignInStore | None = None,
    staff: Staff | None = None,
    limits: Limits | None = None,
    random: Callable[[int], bytes] = os.urandom,
    demo: bool = False,
) -> Console:
    """Open the console of a node or a hub.

    Args:
        root: its directory. title: what its people call the organisation.
        origin: at which browsers reach it.
        ending: what is given back with the console, such as the office.
        pages: further pages, which come after the first one in the navigation.
        packages: with their templates and texts.
        store: `signin.sqlite` beside the accounts if None.

    Raises:
        ConfigError: a file cannot be used. StorageError: the store cannot be opened.
    """
    ending = ending or ExitStack()
    staff = staff or Staff(root)
    if store is None:
        store = own = SqliteSignIns(staff.directory)
        ending.callback(own.close)
    register, challenges = Register(staff), Challenges(store)
    sessions = Sessions(store, register, random=random, limits=limits)
    entering = Entering(office)
    issuer = people = None
    if settings.issuer is not None:
        issuer = Issuer(settings.issuer, origin=origin, challenges=challenges, random=random)
        ending.callback(issuer.close)
        people = People(settings.issuer, staff, store, entering, office.clock)
    door = SignIn(
        register, store, sessions,
        Passkeys(origin, title.en, store, challenges, random), entering,
        Attempts.of_sources(staff.directory), settings.local_accounts, issuer, people,
    )  # fmt: skip
    first, *rest = FirstPages(door, office).pages()
    doors = [part for kind in (AccountPages, AgainPages, DoorPages) for part in kind(door).pages()]
    site = Site(
        name=office.name,
        title=title,
        origin=origin,
        doorkeeper=_Doorkeeper(sessions),
        pages=(first, *pages(door), *rest, *doors),
        packages=(__package__, *packages),
        clock=office.clock,
        random=random,
        sources=Sources(settings.proxies),
        demo=demo,
    )
    return Console(site, door, office, ending)
