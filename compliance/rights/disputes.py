"""A person says that it is listed wrongly: from where it stands to the contributor, and back.

    asker        dispute opened, identity shown, in work
    asker -> contributor     notice: identifiers, the person's words (a sealed letter)
    contributor  takes it in as a dispute of its own, with a deadline of its own
    contributor  decides: corrected, withdrawn or upheld; its register changes first
    contributor -> asker     answer (a sealed letter)
    asker        notes the answer; the person is told

The hub carries letters at most, and can read none. A contributor at whose own counter the
person appears opens and settles the dispute without letters.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from compliance.agreement.fields import Fields, defect
from compliance.rights.case import Case, Identifier, Texts
from compliance.rights.errors import UnknownCaseError
from compliance.rights.kinds import WORKING, Answer, Kind, check_answer
from compliance.rights.service import ANSWER, SETTLE, Rights, Who
from compliance.rights.terms import terms_of
from protocols.codec import canonical_json, parse_json
from protocols.errors import OutOfTurnError, UnsupportedParameterError
from protocols.identifiers import (
    DOMAIN,
    IdentifierKind,
    InvalidIdentifierError,
    canonicalize,
)
from protocols.tlog.entry import Verb

_NOTICE = "lianfang/rights/dispute/v1"
_ANSWER = "lianfang/rights/dispute-answer/v1"
_MOST_TEXT = 2_000
_MOST = 20


class Ruling(StrEnum):
    """What the contributor decided."""

    CORRECTED = "corrected"
    WITHDRAWN = "withdrawn"
    UPHELD = "upheld"


@dataclass(frozen=True, slots=True)
class Notice:
    """What a contributor is told of a dispute.

    Args:
        number: the sender's own number of the dispute, to be repeated in the answer.
    """

    number: str
    profile: str
    texts: Texts = field(repr=False)

    def encode(self) -> bytes:
        """Write the notice; it names a person and travels in a sealed letter only."""
        return canonical_json(
            {
                "format": _NOTICE,
                "number": self.number,
                "profile": self.profile,
                "identifiers": json.loads(self.texts.encode())["identifiers"],
                "wish": self.texts.wish,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Notice:
        """Read a notice.

        Raises:
            MalformedMessageError: names field and rule, nothing of the person.
        """
        names = {"format", "number", "profile", "identifiers", "wish"}
        fields = _fields(data, names, _NOTICE, "dispute")
        wish = fields.values["wish"]
        if not isinstance(wish, str) or len(wish) > _MOST_TEXT:
            raise defect(fields.at("wish"), f"must be text of at most {_MOST_TEXT} characters")
        items = fields.items("identifiers", least=1, most=_MOST)
        identifiers = tuple(_identifier(item) for item in items)
        number, profile = fields.text("number", most=40), fields.text("profile", most=40)
        return cls(number, profile, Texts(identifiers, wish=wish))


@dataclass(frozen=True, slots=True)
class Reply:
    """What the contributor decided, as the sender of the notice is told.

    Args:
        number: the number of the notice. code: ground, where the listing is upheld.
    """

    number: str
    ruling: Ruling
    code: str
    settled_at: int

    def encode(self) -> bytes:
        """Write the reply; it names nobody."""
        return canonical_json(
            {
                "format": _ANSWER,
                "number": self.number,
                "ruling": self.ruling.value,
                "code": self.code,
                "settled_at": self.settled_at,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Reply:
        """Read a reply.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        names = {"format", "number", "ruling", "code", "settled_at"}
        fields = _fields(data, names, _ANSWER, "dispute answer")
        ruling, code = fields.choice("ruling", Ruling), fields.values["code"]
        if not isinstance(code, str) or bool(code) is not (ruling is Ruling.UPHELD):
            raise defect(fields.at("code"), "must stand if, and only if, the listing is upheld")
        return cls(fields.text("number", most=40), ruling, code, fields.whole("settled_at"))


class Disputes:
    """The disputes of one organisation, on either side."""

    def __init__(self, rights: Rights) -> None:
        self._rights = rights
        self._file = rights.file

    def forward(self, number: str, contributor: str, who: Who) -> Notice:
        """Return the notice for a contributor; the entry of the disclosure stands before.

        Raises:
            OutOfTurnError: no dispute in work, or forwarded to another before.
            NotPermittedError: who acts may not.
        """
        case = self._working(number)
        party, theirs, _ = self.dealing(number) or (contributor, "", "")
        if theirs not in {"", number} or party != contributor:
            raise OutOfTurnError("dispute: came from another organisation, or went to one before")
        texts = self._file.texts(number)
        self._rights.act_on(number, ANSWER, Verb.DISCLOSE, who, recipients=(contributor,))
        with self._file.database.transaction():
            self._file.database.run(
                "INSERT OR IGNORE INTO dealings (request, party, theirs) VALUES (?, ?, ?)",
                self._file.row(number), contributor, number,
            )  # fmt: skip
        return Notice(number, case.profile, Texts(texts.identifiers, wish=texts.wish))

    def take_in(self, notice: Notice, sender: str, profile: str, who: Who) -> Case:
        """Open a dispute of our own for a notice; the same notice again finds it.

        Args:
            profile: of our own jurisdiction, whose deadline counts here.

        Raises:
            NotPermittedError: who acts may not.
        """
        known = self.received(sender, notice.number)
        if known is not None:
            return known
        case = self._rights.open(Kind.DISPUTE, profile, notice.texts, who)
        with self._file.database.transaction():
            self._file.database.run(
                "INSERT INTO dealings (request, party, theirs) VALUES (?, ?, ?)",
                self._file.row(case.number), sender, notice.number,
            )  # fmt: skip
        return case

    def received(self, sender: str, theirs: str) -> Case | None:
        """Return the dispute that a sender's notice opened here, or None."""
        row = self._file.database.one(
            "SELECT number FROM requests JOIN dealings ON request = id WHERE party = ? AND"
            " theirs = ?",
            sender, theirs,
        )  # fmt: skip
        return None if row is None else self._file.case(str(row[0]))

    def settle(
        self, number: str, ruling: Ruling, code: str, who: Who, *, change: Callable[[Texts], int]
    ) -> tuple[Case, Reply]:
        """Decide a dispute over our own reports: enter, change the register, note the answer.

        Args:
            change: carries the ruling out in the register and returns how many reports it
                changed; it may be called again after a crash and then changes nothing.

        Raises:
            OutOfTurnError: no dispute in work. NotPermittedError: who acts may not.
            UnsupportedParameterError: no such ground, or none where one is needed.
        """
        case = self._working(number)
        answer = Answer.REFUSED if ruling is Ruling.UPHELD else Answer.GRANTED
        self._file.check_answer(number, answer, code)
        texts = self._file.texts(number)
        self._rights.act_on(number, SETTLE, Verb.ALTER, who)
        change(texts)
        now = self._rights.now
        with self._file.database.transaction():
            self._file.database.run(
                "UPDATE dealings SET decision = ? WHERE request = ?",
                ruling.value, self._file.row(number),
            )  # fmt: skip
        case = self._file.answer(number, answer, code, now=now, actor=who.actor, why=who.reason)
        return case, self.reply(number, ruling)

    def send_reply(self, number: str, who: Who) -> tuple[str, Reply]:
        """Return to whom the ruling on a settled dispute goes, and what; entered before.

        Raises:
            OutOfTurnError: it is not settled, or nobody forwarded it.
        """
        party, theirs, ruling = self.dealing(number) or ("", number, "")
        if not ruling or theirs == number:
            raise OutOfTurnError("dispute: not settled, or nobody forwarded it; settle it first")
        self._rights.act_on(number, ANSWER, Verb.DISCLOSE, who, recipients=(party,))
        return party, self.reply(number, Ruling(ruling))

    def reply(self, number: str, ruling: Ruling) -> Reply:
        """Return what a ruling says to whoever sent the notice."""
        case = self._file.case(number)
        _, theirs, _ = self.dealing(number) or ("", number, "")
        return Reply(theirs, ruling, case.code, case.answered_at or 0)

    def note_reply(self, reply: Reply, sender: str, who: Who) -> Case:
        """Note what the contributor decided on a dispute that we had forwarded to it.

        Raises:
            UnknownCaseError: we forwarded no such dispute to the sender.
            OutOfTurnError: it was answered before.
        """
        case = self.received(sender, reply.number)
        if case is None or case.number != reply.number:
            raise UnknownCaseError(f"dispute: none of this number was forwarded to {sender}")
        answer = Answer.REFUSED if reply.ruling is Ruling.UPHELD else Answer.GRANTED
        check_answer(case.state, answer)
        code = self._known_code(case, reply.code)
        self._rights.act_on(case.number, ANSWER, Verb.DISCLOSE, who)
        with self._file.database.transaction():
            self._file.database.run(
                "UPDATE dealings SET decision = ? WHERE request = ?",
                reply.ruling.value, self._file.row(case.number),
            )  # fmt: skip
        return self._file.answer(
            case.number, answer, code, now=self._rights.now, actor=who.actor, why=who.reason
        )

    def dealing(self, number: str) -> tuple[str, str, str] | None:
        """Return with whom a dispute is dealt, under which number of the notice, and the ruling."""
        row = self._file.database.one(
            "SELECT party, theirs, decision FROM dealings WHERE request = ?",
            self._file.row(number),
        )
        return None if row is None else (str(row[0]), str(row[1]), str(row[2]))

    def _working(self, number: str) -> Case:
        case = self._file.case(number)
        if case.kind is not Kind.DISPUTE or case.state not in WORKING:
            raise OutOfTurnError(f"request: is {case.kind}, {case.state}; needs a dispute in work")
        return case

    def _known_code(self, case: Case, code: str) -> str:
        """Return the ground in the words of our own profile: theirs may be another's."""
        terms = terms_of(case.kind, case.profile)
        try:
            return terms.refusal(code).code if code else ""
        except UnsupportedParameterError:
            return "data_is_right"


def _fields(data: bytes, names: set[str], form: str, where: str) -> Fields:
    value = parse_json(data, where)
    fields = Fields.of(value, names, where)
    if fields.values["format"] != form:
        raise defect(fields.at("format"), f"must be {form}")
    return fields


def _identifier(value: object) -> Identifier:
    """Read an identifier that another organisation wrote: kind and canonical bytes."""
    if not isinstance(value, list) or len(value) != 2:  # noqa: PLR2004  a pair
        raise defect("dispute.identifiers", "must be pairs")
    kind, text = value
    head = len(DOMAIN) + 3
    try:
        found = Identifier(IdentifierKind(kind), bytes.fromhex(text))
        spelled = found.canonical[head:].decode()
        if canonicalize(found.kind, spelled) == found.canonical:
            return found
    except (ValueError, TypeError, InvalidIdentifierError):
        pass
    raise defect("dispute.identifiers", "must be a kind and its canonical form")
