"""Erasing a person from everything that an owner holds, so that a crash is finished by repeating.

    1 is it an erasure in work, with nothing else of the person open, and no hold on it?
    2 decide, enter: the entry stands before anything is gone. To go on with what was decided
      before needs no second decision, but no hold may have come in between
    3 count what every store holds, and draw the certificate's serial: durable
    4 erase store after store; each is noted when its erasure has ended
    5 erase the private parts of the own log (not where the law makes us keep them)
    6 make the certificate with the entry's index and a checkpoint, sign, keep it
    7 enter the certificate's hash; note the answer

Counts are those of step 3, or more if a repetition finds more, so that what was erased before
a crash is not missing from the certificate. The request's own texts stay until it is closed:
somebody has to tell the person.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.vocabulary import Title
from compliance.log.errors import NotWitnessedError
from compliance.log.storage import Place
from compliance.policy.decision import Decision
from compliance.rights.case import Case, draw_number
from compliance.rights.certificate import (
    Certificate,
    Certificates,
    Erased,
    certificate_hash,
    sign_certificate,
)
from compliance.rights.errors import LegalHoldError, StoreWaitsError
from compliance.rights.kinds import WORKING, Answer, Kind, State
from compliance.rights.service import ANSWER, ERASE, Rights, Who, about_of
from compliance.rights.stores import Subject, SubjectStore
from compliance.rights.terms import LEGAL_HOLD, terms_of
from protocols.errors import OutOfTurnError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.entry import Entry, Verb
from protocols.tlog.note import Note

LOG, REQUESTS = "log/private-parts", "rights/requests"
_WHAT = {
    LOG: Title("who and why of log entries about the person", "稽核紀錄中關於當事人之對象與理由"),
    REQUESTS: Title("earlier requests of the person", "當事人先前之請求"),
}
_METHOD = {
    LOG: Title(
        "the key of each entry's private part was destroyed and overwritten; entries and "
        "proofs stay and say nothing of the person",
        "銷毀並覆寫各筆私密部分之金鑰；紀錄與證明仍在，但不含當事人資料",
    ),
    REQUESTS: Title(
        "the key of each request was destroyed and overwritten; dates and answers stay",
        "銷毀並覆寫各請求之金鑰；僅存日期與結果",
    ),
}


class Erasure:
    """Erases at one organisation.

    Args:
        stores: all that hold persons' data; a store that is left out is not erased.
    """

    def __init__(
        self,
        rights: Rights,
        stores: Sequence[SubjectStore],
        certificates: Certificates,
        identity: Ed25519PrivateKey,
    ) -> None:
        self._rights = rights
        self._file = rights.file
        self._stores = stores
        self._certificates = certificates
        self._identity = identity

    def run(
        self, number: str, who: Who, *, keep_log: str = "", told: Sequence[str] = ()
    ) -> tuple[Case, bytes]:
        """Erase the person of a request; returns the answered request and its certificate.

        Args:
            keep_log: code of the ground on which the private parts of the log are kept.
            told: organisations that were told to erase as well.

        Raises:
            OutOfTurnError: not an erasure in work, or other requests are open.
            LegalHoldError: a hold stands; the refusal is entered, nothing is erased.
            NotPermittedError: who acts may not.
            StoreWaitsError: something must be done first; then the same call goes on.
        """
        case = self._file.case(number)
        if case.certificate and case.state in {State.ANSWERED, State.CLOSED}:
            return case, self._certificates.load(case.certificate) or b""
        self._check(case, keep_log)
        decision = self._begin(number, who, keep_log)
        origin, index, kept = self._begun(number)
        subject = self._rights.subject(number)
        serial = self._plan(number, subject, kept, told)
        self._erase(number, subject, kept)
        data = self._certify(number, serial, Place(origin, index), kept)
        about = about_of(Verb.ERASE, "certificate", number, who, document=certificate_hash(data))
        self._rights.office.enter(decision, about)
        case = self._file.answer(
            number,
            Answer.PARTLY if kept else Answer.GRANTED,
            kept,
            now=self._rights.now,
            actor=who.actor,
            certificate=serial,
        )
        return case, data

    def _check(self, case: Case, keep_log: str) -> None:
        if case.kind is not Kind.ERASURE or case.state not in WORKING:
            raise OutOfTurnError(
                f"request: is {case.kind}, {case.state}; only an erasure in work is carried out"
            )
        if keep_log:
            terms_of(case.kind, case.profile).refusal(keep_log)
        waiting = self._rights.open_others(case.number)
        if waiting:
            names = ", ".join(item.number for item in waiting)
            raise OutOfTurnError(f"request: the person has others open ({names}); close them first")

    def _begin(self, number: str, who: Who, keep_log: str) -> Decision:
        """Decide, look for holds, enter; a hold is entered as the refusal that it is."""
        row, database = self._file.row(number), self._file.database
        is_begun = database.one("SELECT 1 FROM erasures WHERE request = ?", row) is not None
        about = about_of(Verb.ERASE, "erasure", number, who)
        decision = self._rights.permit(ANSWER if is_begun else ERASE, about, who)
        tokens = self._file.tokens(number)
        numbers = [number, *(case.number for case in self._rights.others(number))]
        try:
            self._rights.holds.require_none(tokens, numbers, self._rights.now)
        except LegalHoldError:
            self._rights.office.enter_refusal(decision, about, LEGAL_HOLD)
            raise
        place = self._rights.office.enter(decision, about)
        with database.transaction():
            database.run(
                "INSERT OR IGNORE INTO erasures VALUES (?, ?, ?, ?)",
                row, place.origin, place.index, keep_log,
            )  # fmt: skip
        return decision

    def _begun(self, number: str) -> tuple[str, int, str]:
        """Return the entry under which it was decided, and why the log's parts are kept."""
        row = self._file.database.one(
            "SELECT origin, place, kept FROM erasures WHERE request = ?", self._file.row(number)
        ) or ("", 0, "")
        return str(row[0]), int(str(row[1])), str(row[2])

    def _plan(self, number: str, subject: Subject, keep_log: str, told: Sequence[str]) -> str:
        """Count what there is before any of it goes; returns the certificate's serial."""
        row, now, database = self._file.row(number), self._rights.now, self._file.database
        counts = {store.name: len(store.find(subject)) for store in self._stores}
        counts[REQUESTS] = sum(not case.is_erased for case in self._rights.others(number))
        places = self._places(subject)
        if not keep_log:
            counts[LOG] = len(places)
        recipients = self._recipients(places)
        with database.transaction():
            for store, count in counts.items():
                database.run(
                    "INSERT INTO steps VALUES (?, ?, ?, NULL) ON CONFLICT (request, store)"
                    " DO UPDATE SET found = max(found, excluded.found)",
                    row, store, count,
                )  # fmt: skip
            for name in sorted(recipients | set(told)):
                database.run(
                    "INSERT INTO recipients VALUES (?1, ?2, ?3) ON CONFLICT (request, name)"
                    " DO UPDATE SET told_at = coalesce(told_at, excluded.told_at)",
                    row, name, now if name in told else None,
                )  # fmt: skip
            serial = self._file.case(number).certificate or draw_number("E", self._file.random)
            database.run("UPDATE requests SET certificate = ? WHERE id = ?", serial, row)
        return serial

    def _erase(self, number: str, subject: Subject, keep_log: str) -> None:
        """Erase everywhere; a store that must wait does not keep the others from it."""
        waiting: list[StoreWaitsError] = []
        for store in self._stores:
            try:
                store.erase(subject)
            except StoreWaitsError as error:
                waiting.append(error)
            else:
                self._done(number, store.name)
        if waiting:
            raise StoreWaitsError("; ".join(str(error) for error in waiting))
        self._file.shred([case.number for case in self._rights.others(number)])
        self._done(number, REQUESTS)
        if not keep_log:
            for token in subject.tokens:
                self._rights.office.parts.erase_subject(token, self._rights.now)
            self._done(number, LOG)

    def _done(self, number: str, store: str) -> None:
        with self._file.database.transaction():
            self._file.database.run(
                "UPDATE steps SET erased_at = ? WHERE request = ? AND store = ?",
                self._rights.now, self._file.row(number), store,
            )  # fmt: skip

    def _certify(self, number: str, serial: str, place: Place, keep_log: str) -> bytes:
        made = self._certificates.load(serial)
        if made is not None:
            return made  # a process before this one was killed after it had kept it
        row, database = self._file.row(number), self._file.database
        known = {store.name: (store.what, store.method) for store in self._stores}
        known |= {name: (_WHAT[name], _METHOD[name]) for name in _WHAT}
        steps = database.all(
            "SELECT store, found, erased_at FROM steps WHERE request = ? AND erased_at NOT NULL"
            " ORDER BY store",
            row,
        )
        named = database.all(
            "SELECT name, told_at FROM recipients WHERE request = ? ORDER BY name", row
        )
        certificate = Certificate(
            serial=serial,
            owner=self._rights.office.name,
            request=number,
            profile=self._file.case(number).profile,
            made_at=self._rights.now,
            erased=tuple(
                Erased(str(name), *known[str(name)], at=int(str(at)), count=int(str(count)))
                for name, count, at in steps
                if name in known
            ),
            kept=keep_log,
            recipients=tuple(str(name) for name, _ in named),
            told=tuple(str(name) for name, at in named if at is not None),
            origin=place.origin,
            index=place.index,
            checkpoint=self._checkpoint(place),
        )
        data = sign_certificate(self._identity, certificate)
        self._certificates.keep(serial, data)
        return data

    def _checkpoint(self, place: Place) -> str:
        """Return a published checkpoint that contains the entry; empty if none can be had now."""
        try:
            notes = self._rights.office.yearly.checkpoint()
        except NotWitnessedError:
            return ""
        return next((note.encode().decode() for note in notes if _contains(note, place)), "")

    def _places(self, subject: Subject) -> list[Place]:
        found: dict[tuple[str, int], Place] = {}
        for token in subject.tokens:
            for place in self._rights.office.parts.find_subject(token):
                found[place.origin, place.index] = place
        return list(found.values())

    def _recipients(self, places: Sequence[Place]) -> set[str]:
        """Return to whom something about the person was given, as the own log says."""
        office, names = self._rights.office, set[str]()
        for place in places:
            (data,) = office.storage.entries(place.origin, place.index, place.index + 1)
            names |= set(Entry.decode(data).recipients)
        return names - {office.name}


def _contains(note: Note, place: Place) -> bool:
    checkpoint = Checkpoint.parse(note.text)
    return checkpoint.origin == place.origin and checkpoint.size > place.index
