"""A light for the customer at hand: the importable client of a core system.

    with Desk(directory) as desk:
        finding = desk.check(
            [(IdentifierKind.PHONE, number)], purpose=Purpose.COUNTER, case="C-2026-118"
        )
        finding.light.colour

One check is one round trip to the hub at most, and none for a customer who was evaluated in
this epoch before. The order of steps keeps it right: decide, watch, evaluate, match, note, and
only then show. A check that cannot be finished shows grey, never green.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from clients.desk.journal import CheckEntry, CheckJournal
from clients.desk.matching import without
from clients.desk.permitting import Permitting
from clients.desk.policy import OnDense, load_benign, load_policy
from clients.desk.thin import ThinTables
from clients.desk.watch import Watch
from clients.lookup.api import HubRefusedError
from clients.lookup.evaluating import BATCH
from clients.lookup.logged import NotLoggedError
from clients.lookup.secrets import Random
from clients.lookup.session import Lookup
from clients.lookup.tables import Table
from clients.node.home import Home
from clients.office import node_office
from compliance.clock import Clock, SystemClock
from compliance.errors import NotPermittedError, UnknownEpochError
from compliance.policy.actors import Principal
from protocols.errors import ProtocolError
from protocols.identifiers import IdentifierKind, canonicalize
from protocols.link import TransportError
from protocols.lookup.light import Colour, Light, Match, Source, combine, judge
from protocols.lookup.payload import Payload, Use, month_of
from protocols.lookup.receipt import Receipt
from protocols.lookup.request import CASE_PURPOSES, Purpose
from protocols.oprf.errors import WrongEpochError

MAX_IDENTIFIERS = 20
_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        light: None if every identifier is a shared number.
        shared: labels of the shared numbers among the identifiers.
        number: the desk's own number of this check, for the slip.
        receipt: the hub's, if holders were asked; None if all was cached.
        problem: why the light is grey, where it is not a table's age.
    """

    at: int
    number: int
    light: Light | None
    shared: tuple[str, ...]
    receipt: Receipt | None = field(repr=False)
    sources: tuple[Source, ...]
    problem: str = ""

    @property
    def receipt_number(self) -> str:
        """What the clerk writes down: the desk's number and, if there is one, the request's."""
        number = f"D-{self.number:06d}"
        return f"{number}/{self.receipt.request_id.hex()}" if self.receipt is not None else number


@dataclass(frozen=True, slots=True)
class Answers:
    """What contributors say about one identifier, and whose table could not be used."""

    matches: list[Match]
    broken: frozenset[str]


class Desk:
    """One node's desk, kept open between checks; for one thread, and many desks of a node.

    Args:
        thin: fetch padded buckets for every check instead of keeping whole tables.
        batch: elements of one request when many customers are screened.
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock = _CLOCK,
        random: Random = os.urandom,
        thin: bool = False,
        batch: int = BATCH,
    ) -> None:
        home = Home(directory)
        self.policy = load_policy(directory)
        self.lookup = Lookup(home, clock=clock, random=random, batch=batch)
        self.benign = load_benign(directory)
        self.watch = Watch(home, random)
        self.journal = CheckJournal(directory)
        self.office = node_office(home, clock=clock)
        self.permitting = Permitting(self.office, home)
        self._thin = ThinTables(self.lookup) if thin else None
        self._clock = clock

    def close(self) -> None:
        """Give connections and files back."""
        self.lookup.close()
        self.watch.close()
        self.journal.close()
        self.office.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def check(
        self,
        identifiers: Sequence[tuple[IdentifierKind, str]],
        *,
        purpose: Purpose,
        case: str,
        channel: str = "",
        now: int | None = None,
        by: Principal | None = None,
        glass_broken: bool = False,
    ) -> Finding:
        """Return one light for the identifiers of one customer.

        Args:
            case: the reference of the case in the core system; never an identifier.
            channel: where the customer is, for the desk's own journal.
            by: who looks; the organisation's own program if None.
            glass_broken: an emergency was declared, which is reviewed afterwards.

        Raises:
            InvalidIdentifierError: one is not of its kind; nothing was asked.
            NotPermittedError: not a purpose of the desk, no case, a range is refused, or the
                agreement or the policies do not permit it.
            HubRefusedError: the hub or a holder refused; the detail says why.
            TransportError: not even the epoch is known, and the hub cannot be reached.

        Privacy:
            The holders learn that something was asked under this purpose for some case.
        """
        if purpose not in CASE_PURPOSES or not case:
            raise NotPermittedError("check: needs a purpose that serves a customer, and a case")
        if case in {value for _, value in identifiers}:
            # A case's reference stands in journals and command lines; a person's must not.
            raise NotPermittedError("case: is the identifier itself; give the case's reference")
        if not 1 <= len(identifiers) <= MAX_IDENTIFIERS:
            raise NotPermittedError(
                f"check: needs 1 to {MAX_IDENTIFIERS} identifiers of one person"
            )
        at = self._clock.now() if now is None else now
        canonical = [canonicalize(kind, value) for kind, value in identifiers]
        labels = [self.benign.label(item) for item in canonical]
        wanted = [item for item, label in zip(canonical, labels, strict=True) if label is None]
        shared = tuple(label for label in labels if label is not None)
        permission = self.permitting.check(
            canonical, purpose=purpose, case=case, by=by, glass_broken=glass_broken
        )
        with self.permitting.told(permission):
            light, sources, receipt, problem = self._light(wanted, purpose, case, at)
        number = self.journal.append(
            CheckEntry(
                at=at,
                purpose=purpose,
                channel=channel,
                case=case,
                kinds=[kind.value for kind, _ in identifiers],
                requests=[] if receipt is None else [receipt.request_id.hex()],
                colour="" if light is None else light.colour,
                reasons=[] if light is None else [reason.code for reason in light.reasons],
            )
        )
        self.permitting.seen(permission, light)
        return Finding(at, number, light, shared, receipt, sources, problem)

    def _light(
        self, wanted: Sequence[bytes], purpose: Purpose, case: str, now: int
    ) -> tuple[Light | None, tuple[Source, ...], Receipt | None, str]:
        if not wanted:
            return None, (), None, ""
        problem = "" if self._thin else self.lookup.freshen(self.policy.refresh_s)
        try:
            receipt = self._evaluate(wanted, purpose, case, now)
            answers, sources = self._answers(wanted, case, now)
        except (TransportError, HubRefusedError, WrongEpochError, NotLoggedError) as error:
            if isinstance(error, HubRefusedError) and error.code != UnknownEpochError.code:
                raise
            # Cannot tell: nobody answers, or the epoch in force changed in this moment, stands in
            # no log yet, or there is none. A light that is missing must not look like a green one.
            return Light(Colour.GREY, absent=("hub",)), (), None, str(error)
        use, month = Use.COUNTER | Use.CARE, month_of(now)
        lights = [
            judge(found.matches, without(sources, found.broken), use=use, month=month)
            for found in answers
        ]
        return combine(lights), sources, receipt, problem

    def _evaluate(
        self, wanted: Sequence[bytes], purpose: Purpose, case: str, now: int
    ) -> Receipt | None:
        epoch = self.lookup.epoch()
        rows = epoch.cache.positions(epoch.cache.tokens(wanted))
        missing = [item for item, row in zip(wanted, rows, strict=True) if row < 0]
        if not missing:
            return None
        dense = self.watch.look(missing, now=now, subject=f"check of case {case}")
        if dense is not None and self.policy.at_counter is OnDense.REFUSE:
            raise NotPermittedError(f"check: {dense.text}; ask the compliance officer")
        # All of them: if another epoch comes into force meanwhile, none is cached in it.
        found = self.lookup.evaluate(wanted, purpose=purpose, case=case)
        return found.receipts[0] if found.receipts else None

    def _answers(
        self, wanted: Sequence[bytes], case: str, now: int
    ) -> tuple[list[Answers], tuple[Source, ...]]:
        epoch = self.lookup.epoch()
        rows = epoch.cache.positions(epoch.cache.tokens(wanted))
        roots = epoch.cache.roots(rows)
        # Of a thin client's fetches none may depend on what another one found.
        found = self._thin.fetch(roots) if self._thin else None
        tables = self.lookup.tables(epoch) if found is None else found
        sources = self.policy.sources(epoch.manifest, tables, own=self.lookup.trust.name, now=now)
        answers = [self._ask_tables(tables, root, case, now) for root in roots]
        return answers, sources

    def _ask_tables(self, tables: dict[str, Table], root: bytes, case: str, now: int) -> Answers:
        matches, broken = [], set()
        for name, table in tables.items():
            try:
                payloads = table.payloads(root)
            except ProtocolError:
                # A record under our tag that does not open: its contributor cannot be used.
                broken.add(name)
                continue
            matches += [Match(name, item) for item in self._alarmed(payloads, name, case, now)]
        return Answers(matches, frozenset(broken))

    def _alarmed(
        self, payloads: Sequence[Payload], name: str, case: str, now: int
    ) -> list[Payload]:
        """Take canaries out and raise an alarm for each."""
        for payload in payloads:
            if payload.canary:
                self.watch.note_canary(name, now=now, subject=f"check of case {case}")
        return [payload for payload in payloads if not payload.canary]
