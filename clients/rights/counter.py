"""Opening what the commands on persons' rights need: office, file of requests, who acts.

    rights/requests.sqlite    requests, sealed (`compliance.rights.casefile`)
    rights/rights.key         seals them; rights/subject.key finds persons
    rights/certificates/      deletion certificates
    rights/holidays.json      {"days": ["2027-01-01", ...]}: no period ends on them; optional

Identifiers come by a hidden prompt or by standard input, never by the command line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from clients.acting import acting
from clients.audit.home import AuditHome
from clients.desk.asking import MAX_LINE, kind_of
from clients.desk.desk import MAX_IDENTIFIERS
from clients.feed.home import FeedHome
from clients.node.home import Home
from clients.office import node_office
from clients.rights.reports import ReportRecords
from clients.rights.stores import stores_of, told_stores
from compliance.clock import Clock, SystemClock
from compliance.configuration import ConfigError, read_object
from compliance.rights.case import Case, Identifier, Texts
from compliance.rights.casefile import CaseFile
from compliance.rights.certificate import Certificates
from compliance.rights.disputes import Disputes
from compliance.rights.erasure import Erasure
from compliance.rights.service import Rights, Who
from compliance.rights.stores import SubjectRecords
from compliance.rights.terms import terms_of
from compliance.rights.words import ANSWERS, KINDS, STATES, time_text
from protocols.errors import UnsupportedParameterError
from protocols.identifiers import canonicalize

HOLIDAYS = "holidays.json"
_MOST_TEXT = 2_000
_WORDS = ("contact", "wish")


@dataclass(frozen=True, slots=True)
class Counter:
    """A node's file of requests, and who acts on it."""

    home: Home
    rights: Rights
    who: Who
    clock: Clock

    @property
    def name(self) -> str:
        """The node's name."""
        return self.rights.office.name

    @property
    def identity(self) -> Ed25519PrivateKey:
        """The key that signs certificates and letters."""
        return AuditHome(self.home).identity()

    @property
    def identities(self) -> dict[str, Ed25519PublicKey]:
        """The pinned identity keys by name, our own among them."""
        return {
            name: Ed25519PublicKey.from_public_bytes(key)
            for name, key in AuditHome(self.home).identities().items()
        }

    @property
    def certificates(self) -> Certificates:
        """The certificates of the node."""
        return Certificates(self.home.root)

    @property
    def disputes(self) -> Disputes:
        """The disputes of the node."""
        return Disputes(self.rights)

    def told(self) -> list[SubjectRecords]:
        """Return what a person is told of."""
        return told_stores(self.home, os.urandom, clock=self.clock)

    def erasure(self) -> Erasure:
        """Return what erases a person here."""
        stores = stores_of(self.home, os.urandom, clock=self.clock, who=self._account)
        return Erasure(self.rights, stores, self.certificates, self.identity)

    def reports(self) -> ReportRecords:
        """Return the reports of the node's feed.

        Raises:
            ConfigError: it has none.
        """
        if not (self.home.root / "feed" / "register.sqlite").exists():
            raise ConfigError("feed: this node has no reports; nothing here can be disputed")
        return ReportRecords(FeedHome(self.home), os.urandom, self.clock, self._account)

    def profile(self, chosen: str) -> str:
        """Return the jurisdiction: as chosen, else that of the agreement in force.

        Raises:
            ConfigError: neither.
        """
        agreement = None if chosen else self.rights.office.agreement()
        if not chosen and agreement is None:
            raise ConfigError("--profile: no agreement is in force; say tw or eu")
        return chosen if agreement is None else agreement.profile.id

    @property
    def _account(self) -> str:
        return f"staff {self.who.actor.hex()[:8]}"


@contextmanager
def opened(
    directory: Path, *, by: str = "", second: str = "", reason: str = "", clock: Clock | None = None
) -> Iterator[Counter]:
    """Open a node's counter and find out who acts; closes everything at the end.

    Raises:
        ConfigError: no node, or a password cannot be asked for.
        CredentialsError: an account and its password are not accepted.
    """
    home = Home(directory)
    home.config()  # a directory that is no node is told before anything is made in it
    holidays = read_holidays(directory)
    with node_office(home, clock=clock) as office:
        file = CaseFile(directory, os.urandom, holidays=holidays)
        try:
            who = Who(acting(directory, office, name=by, second=second), reason)
            yield Counter(home, Rights(office, file), who, clock or SystemClock())
        finally:
            file.close()


@contextmanager
def read_only(directory: Path) -> Iterator[CaseFile]:
    """Open the file of requests without acting: nothing of a person can be read by it."""
    Home(directory).config()
    file = CaseFile(directory, os.urandom, holidays=read_holidays(directory))
    try:
        yield file
    finally:
        file.close()


def read_holidays(root: Path) -> frozenset[date]:
    """Read the days on which no period ends; none if there is no file.

    Raises:
        ConfigError: names the rule and the cure.
    """
    path = root / "rights" / HOLIDAYS
    if not path.exists():
        return frozenset()
    try:
        return frozenset(date.fromisoformat(day) for day in read_object(path)["days"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f'{HOLIDAYS}: must be {{"days": ["2027-01-01", ...]}}') from error


def read_texts(kind: str, *, many: bool) -> Texts:
    """Read who the person is and what it wants.

    From standard input: lines `kind,value`, `contact,...` and `wish,...`. At a terminal:
    one identifier of `kind`, hidden, then contact and wish.

    Raises:
        UnsupportedParameterError: a line is none; named by its number, never by its text.
    """
    if not many and sys.stdin.isatty():
        chosen = kind_of(kind)
        value = typer.prompt(f"{chosen}", hide_input=True, err=True)
        contact, wish = (typer.prompt(word, default="", err=True) for word in _WORDS)
        return _texts([f"{chosen},{value}", f"contact,{contact}", f"wish,{wish}"])
    most = MAX_LINE * MAX_IDENTIFIERS + 2 * _MOST_TEXT
    return _texts(sys.stdin.read(most).splitlines() if many else [f"{kind},{sys.stdin.readline()}"])


def case_fields(case: Case, now: int) -> dict[str, Any]:
    """Return a request as plain values."""
    return {
        "number": case.number,
        "kind": case.kind.value,
        "state": case.state.value,
        "profile": case.profile,
        "received_at": _iso(case.received_at),
        "due_at": _iso(case.due_at),
        "overdue": case.is_overdue(now),
        "answer": None if case.answer is None else case.answer.value,
        "code": case.code,
        "certificate": case.certificate if case.answer is not None else "",
        "erased": case.is_erased,
    }


def case_text(case: Case, now: int, language: str) -> str:
    """Return a request as one line for people."""
    offset = terms_of(case.kind, case.profile).calendar.offset_s
    late = {True: "  逾期 OVERDUE", False: ""}[case.is_overdue(now)]
    done = "" if case.answer is None else f"  {ANSWERS[case.answer].text(language)} {case.code}"
    return (
        f"{case.number}  {KINDS[case.kind].text(language)}  {STATES[case.state].text(language)}"
        f"  {time_text(case.due_at, offset)}{done}{late}"
    )


def outside(path: Path, root: Path) -> Path:
    """Refuse to write a person's data into the node's directory, where no erasure finds it.

    Raises:
        ConfigError: the path lies inside.
    """
    if path.resolve().is_relative_to(root.resolve()):
        raise ConfigError("--out: lies in the node's directory; erasures do not look there")
    return path


def _texts(lines: list[str]) -> Texts:
    said = dict.fromkeys(_WORDS, "")
    found: dict[bytes, Identifier] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line:
            continue
        name, comma, value = line.partition(",")
        if not comma:
            raise UnsupportedParameterError(f"line {number}: must be kind,value")
        if name.strip() in said:
            said[name.strip()] = value.strip()[:_MOST_TEXT]
            continue
        kind = kind_of(name.strip())
        canonical = canonicalize(kind, value.strip())
        found[canonical] = Identifier(kind, canonical)
    if not found or len(found) > MAX_IDENTIFIERS:
        raise UnsupportedParameterError(f"person: needs 1 to {MAX_IDENTIFIERS} identifiers")
    return Texts(tuple(found.values()), said["contact"], said["wish"])


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
