"""The desk page: one field, a purpose, and a light at an address that names nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from starlette.responses import Response

from clients.desk.pages.counter import Counter, Question
from clients.desk.pages.recognising import KINDS, recognise
from clients.desk.pages.shelf import Shelf, Shown
from clients.desk.telling import finding_fields
from clients.lookup.api import HubRefusedError
from compliance.configuration import ConfigError
from compliance.errors import ComplianceError, NotPermittedError
from compliance.office.office import Office
from compliance.office.titles import titles_at
from compliance.policy.actors import StaffRole
from compliance.signin.register import Register
from compliance.staff.acting import Acting, person_of
from compliance.web.access import only
from compliance.web.errors import UnknownPageError
from compliance.web.formats import at_taipei
from compliance.web.page import Page
from compliance.web.visit import Visit
from protocols.errors import ProtocolError
from protocols.identifiers import MAX_TEXT, IdentifierKind, InvalidIdentifierError
from protocols.link import TransportError
from protocols.lookup.request import Purpose
from protocols.lookup.wording import Language, shared_sentence, word_light

DESK, LIGHT = "/desk", "/desk/light"
# Where people look; in the other channels programs do.
PURPOSES = (Purpose.COUNTER, Purpose.CALL_CENTRE)
MAX_CASE = 80
_REFUSED, _AWAY = 422, 503
_CASE_RANDOM = 3


class _TroubleError(Exception):
    """What stands against a check, as the page says it.

    Args:
        key: of the text; `status` of the answer; `detail` as the program says it.
    """

    def __init__(self, key: str, status: int = _REFUSED, detail: str = "") -> None:
        super().__init__(key)
        self.key, self.status, self.detail = key, status, detail


@dataclass(frozen=True, slots=True)
class DeskPages:
    """The form, and the light."""

    clerks: ClassVar = only(StaffRole.DESK)
    counter: Counter
    office: Office
    register: Register
    random: Callable[[int], bytes]
    shelf: Shelf = field(default_factory=Shelf)

    def pages(self) -> list[Page]:
        """Return them."""
        return [
            Page(DESK, self.clerks, show=self._show, act=self._check, menu="menu.desk"),
            Page(f"{LIGHT}/{{number:int}}", self.clerks, show=self._light),
        ]

    def _show(self, visit: Visit) -> Response:
        purpose = _purpose(visit.request.query_params.get("for", ""))
        return self._form(visit, purpose or Purpose.COUNTER)

    def _form(
        self, visit: Visit, purpose: Purpose, trouble: _TroubleError | None = None
    ) -> Response:
        case = visit.form.get("case", "")[:MAX_CASE]
        if trouble is not None and trouble.key == "desk.case_is_person":
            case = ""  # nobody's number is repeated
        return visit.render(
            "desk.html",
            status=200 if trouble is None else trouble.status,
            purposes=PURPOSES,
            kinds=KINDS,
            purpose=purpose,
            kind=visit.form.get("kind", ""),
            case=case,
            trouble=trouble,
        )

    def _check(self, visit: Visit) -> Response:
        purpose = _purpose(visit.field("purpose")) or Purpose.COUNTER
        try:
            shown = self._ask(visit, purpose)
        except _TroubleError as trouble:
            return self._form(visit, purpose, trouble)
        return visit.go(f"{LIGHT}/{self.shelf.put(shown, visit.now)}")

    def _ask(self, visit: Visit, purpose: Purpose) -> Shown:
        text = visit.field("identifier", most=MAX_TEXT)
        kind = _kind(text, visit.field("kind"))
        case = self._case(visit.field("case", most=MAX_CASE).strip(), text, visit.now)
        name = visit.person.account
        account = self.register.all()[name]
        person = person_of(self.office, account)
        who = Acting(person, None, account=name, staff=self.register.staff)
        broken = who.facts(self.office).glass_broken
        question = Question([(kind, text)], purpose, case, person, broken)
        try:
            found = self.counter.check(question)
        except InvalidIdentifierError as error:
            raise _TroubleError(f"desk.invalid.{kind}") from error
        except NotPermittedError as error:
            raise _TroubleError("desk.not_permitted", 403, str(error)) from error
        except ConfigError as error:
            raise _TroubleError("desk.not_ready", _AWAY, str(error)) from error
        except (HubRefusedError, TransportError, ComplianceError, ProtocolError) as error:
            raise _TroubleError("desk.away", _AWAY, str(error)) from error
        return Shown(found, kind, purpose, case, name)

    def _case(self, given: str, text: str, now: int) -> str:
        """Return the reference of the case, made here where the core system has none."""
        if not given:
            return f"W-{at_taipei(now):%Y%m%d}-{self.random(_CASE_RANDOM).hex().upper()}"
        if recognise(given) is not None or _plain(given) == _plain(text):
            raise _TroubleError("desk.case_is_person")
        return given

    def _light(self, visit: Visit) -> Response:
        number = visit.request.path_params["number"]
        shown = self.shelf.find(number, visit.person.account, visit.now)
        if shown is None:
            raise UnknownPageError("light: forgotten, or somebody else's")
        language, titles = Language(visit.language.value), titles_at(self.office)
        finding = shown.finding
        if visit.wants_json:
            return visit.json(finding_fields(finding, language))
        return visit.render(
            "light.html",
            shown=shown,
            finding=finding,
            words=None if finding.light is None else word_light(finding.light, language),
            shared=[shared_sentence(label, language) for label in finding.shared],
            party=lambda name: titles(name).text(visit.language),
        )


def _plain(text: str) -> str:
    """Return a number without what people write between its parts, in one case."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _purpose(text: str) -> Purpose | None:
    return Purpose(text) if text in set(PURPOSES) else None


def _kind(text: str, chosen: str) -> IdentifierKind:
    if chosen in set(KINDS):
        return IdentifierKind(chosen)
    if not text.strip():
        raise _TroubleError("desk.nothing")
    found = recognise(text)
    if found is None:
        raise _TroubleError("desk.which_kind")
    return found
