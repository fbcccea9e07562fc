"""Four eyes: one asks, another agrees, and the same act is done once.

    asked -> agreed -> used
          -> declined               each of them expires a day after it was asked

A request is known by who asks, the act, and a digest of what exactly is asked. It is used up
*before* the act is done: a crash in between costs the consent, which must then be asked for
again, and never gives a second act. Who may agree by role is checked here when it is given,
and again by the policies when it is used.

Durability, order, concurrency: see `compliance.journal`. Only this organisation's own files
have the names of accounts; the digest is over words and tokens, never over an identifier of
a person (see `digest_of`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from compliance.agreement.fields import Fields, defect, read_text
from compliance.errors import LogCorruptError, NotPermittedError
from compliance.staff.accounts import Account
from compliance.staff.errors import StaffError
from compliance.staff.events import Append, Event, Events
from protocols.errors import MalformedMessageError
from protocols.jcs import encode_jcs

LASTS_S = 86_400
MAX_WHAT = 300
_DOMAIN = b"lianfang/staff/consent-digest/v1"


class Stage(StrEnum):
    """How far a request has come."""

    WAITING = "waiting"
    AGREED = "agreed"
    DECLINED = "declined"
    USED = "used"


@dataclass(frozen=True, slots=True)
class Request:
    """What one person wants to do and another is to agree to.

    Args:
        what: in words that name no person that data are about.
        digest: of what exactly is consented to.
        asked: Unix seconds; `by` is who agreed or declined, and `reason` why.
    """

    number: int
    act: str
    what: str
    digest: bytes
    asker: str
    asked: int
    stage: Stage = Stage.WAITING
    by: str = ""
    reason: str = ""

    @property
    def expires(self) -> int:
        """From when it counts for nothing."""
        return self.asked + LASTS_S

    def is_open(self, now: int) -> bool:
        """Report whether it waits, or was decided and still counts."""
        return self.stage is not Stage.USED and now < self.expires


class Consents:
    """The requests of one organisation, in one journal."""

    def __init__(self, path: Path) -> None:
        self._events = Events(path)

    def file(self, act: str, what: str, digest: bytes, asker: str, *, now: int) -> Request:
        """Ask for a second person; who has asked the same already finds that request."""
        read_text(what, "what", most=MAX_WHAT)
        with self._exclusive() as (requests, append):
            found = _match(requests, act, digest, asker, now)
            if found is not None:
                return found
            request = Request(len(requests) + 1, act, what, digest, asker, now)
            append(
                {
                    "kind": "asked", "number": request.number, "act": act, "what": what,
                    "digest": digest.hex(), "by": asker, "at": now,
                }
            )  # fmt: skip
            return request

    def agree(self, number: int, by: Account, *, now: int) -> Request:
        """Give the consent; by somebody who has just proved to be this account.

        Raises:
            NotPermittedError: the account asked itself, or has no role for it.
            StaffError: no such request waits.
        """
        return self._decide(number, by, Stage.AGREED, "", now)

    def decline(self, number: int, by: Account, reason: str, *, now: int) -> Request:
        """Refuse the consent, with a reason that the one who asked may read.

        Raises: as `agree`; MalformedMessageError for a reason that is none.
        """
        return self._decide(number, by, Stage.DECLINED, read_text(reason, "reason"), now)

    def find(self, act: str, digest: bytes, asker: str, *, now: int) -> Request | None:
        """Return the request for exactly this, if one is open."""
        return _match(_replayed(self._events.all()), act, digest, asker, now)

    def consume(self, number: int, *, now: int) -> Request | None:
        """Use a consent up, durably; None if it is not there to be used, or somebody was faster."""
        with self._exclusive() as (requests, append):
            found = requests.get(number)
            if found is None or found.stage is not Stage.AGREED or not found.is_open(now):
                return None
            append({"kind": "used", "number": number, "at": now})
            return replace(found, stage=Stage.USED)

    def open(self, now: int) -> tuple[Request, ...]:
        """Return all that wait, or that were decided and not yet used, oldest first."""
        requests = _replayed(self._events.all()).values()
        return tuple(request for request in requests if request.is_open(now))

    def _decide(self, number: int, by: Account, stage: Stage, reason: str, now: int) -> Request:
        with self._exclusive() as (requests, append):
            found = requests.get(number)
            if found is None or found.stage is not Stage.WAITING or not found.is_open(now):
                raise StaffError(f"request {number}: does not wait; see `staff waiting`")
            if found.asker == by.name:
                raise NotPermittedError(
                    f"request {number}: nobody agrees to what they asked for; ask somebody else"
                )
            if not by.may_agree:
                raise NotPermittedError(
                    f"request {number}: needs an approver or a compliance officer"
                )
            append(
                {
                    "kind": stage.value, "number": number, "by": by.name, "reason": reason,
                    "at": now,
                }
            )  # fmt: skip
            return replace(found, stage=stage, by=by.name, reason=reason)

    @contextmanager
    def _exclusive(self) -> Iterator[tuple[dict[int, Request], Append]]:
        with self._events.exclusive() as (events, append):
            yield _replayed(events), append


def digest_of(act: str, what: str, details: Any) -> bytes:
    """Return the digest of what is consented to: the words that are shown, and all details.

    Privacy:
        A digest is no secret: `details` may have tokens of persons, never their identifiers.
    """
    return sha256(_DOMAIN + encode_jcs({"act": act, "what": what, "details": details})).digest()


def _match(
    requests: dict[int, Request], act: str, digest: bytes, asker: str, now: int
) -> Request | None:
    for request in reversed(requests.values()):
        same = (request.act, request.digest, request.asker) == (act, digest, asker)
        if same and request.is_open(now):
            return request
    return None


def _replayed(events: list[Event]) -> dict[int, Request]:
    requests: dict[int, Request] = {}
    try:
        for event in events:
            _apply(requests, event)
    except MalformedMessageError as error:
        raise LogCorruptError(f"{error}; restore staff/consents.journal") from error
    return requests


def _apply(requests: dict[int, Request], event: Event) -> None:
    where = "consent"
    kind = event.get("kind")
    if kind == "asked":
        fields = Fields.of(event, {"kind", "number", "act", "what", "digest", "by", "at"}, where)
        request = Request(
            fields.whole("number", least=len(requests) + 1, most=len(requests) + 1),
            fields.text("act"),
            fields.text("what", most=MAX_WHAT),
            fields.digest("digest"),
            fields.text("by"),
            fields.whole("at"),
        )
        requests[request.number] = request
        return
    names = {"kind", "number", "at"} | (set() if kind == "used" else {"by", "reason"})
    fields = Fields.of(event, names, where)
    request = _known(requests, fields)
    stage = fields.choice("kind", Stage)
    before = Stage.AGREED if stage is Stage.USED else Stage.WAITING
    if stage is Stage.WAITING or request.stage is not before:
        raise defect(where, "events are out of order")
    if stage is Stage.USED:
        requests[request.number] = replace(request, stage=stage)
        return
    reason = fields.text("reason") if stage is Stage.DECLINED else ""
    requests[request.number] = replace(request, stage=stage, by=fields.text("by"), reason=reason)


def _known(requests: dict[int, Request], fields: Fields) -> Request:
    found = requests.get(fields.whole("number"))
    if found is None:
        raise defect(fields.at("number"), "names no request")
    return found
