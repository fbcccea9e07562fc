"""The values of the file of requests: a request, what its person said, a hold, an event."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from compliance.rights.kinds import OPEN, Answer, Kind, State
from protocols.codec import canonical_json
from protocols.identifiers import IdentifierKind

# No letter that is taken for a digit; five in a row never look like a number of a person.
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
_GROUPS, _LENGTH = 2, 5
_FAIR = 256 - 256 % len(_ALPHABET)


@dataclass(frozen=True, slots=True)
class Identifier:
    """One identifier of the person, in its one canonical form."""

    kind: IdentifierKind
    canonical: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Texts:
    """What is known of the person of a request; sealed in the file.

    Args:
        contact: where the answer goes. wish: what is asked for, in the person's words.
    """

    identifiers: tuple[Identifier, ...] = field(repr=False)
    contact: str = field(default="", repr=False)
    wish: str = field(default="", repr=False)

    def encode(self) -> bytes:
        """Write the texts; the result is secret."""
        listed = [[item.kind.value, item.canonical.hex()] for item in self.identifiers]
        return canonical_json({"identifiers": listed, "contact": self.contact, "wish": self.wish})

    @classmethod
    def decode(cls, data: bytes) -> Texts:
        """Read what `encode` wrote; the seal has shown that it is unchanged."""
        value = json.loads(data)
        identifiers = tuple(
            Identifier(IdentifierKind(kind), bytes.fromhex(item))
            for kind, item in value["identifiers"]
        )
        return cls(identifiers, value["contact"], value["wish"])


@dataclass(frozen=True, slots=True)
class Case:
    """One request, without anything that says whose.

    Args:
        number: the receipt that the person has; drawn at random.
        code: of the ground of refusal, where there is one.
        certificate: serial of the deletion certificate, where there is one.
    """

    number: str
    kind: Kind
    profile: str
    state: State
    received_at: int
    due_at: int
    answered_at: int | None
    answer: Answer | None
    code: str
    certificate: str
    is_erased: bool

    def is_overdue(self, now: int) -> bool:
        """Whether it should have been answered by now."""
        return self.state in OPEN and now >= self.due_at


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a request."""

    at: int
    what: str
    actor: bytes
    why: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Hold:
    """What must not be erased until a day, by whose decision, and why.

    Args:
        owner: pseudonym of who laid it; `office` is the unit that answers for it.
    """

    number: str
    owner: bytes
    office: str
    reason: str
    begun_at: int
    until: int
    released_at: int | None

    def stands(self, now: int) -> bool:
        """Whether it stands at `now`."""
        return self.released_at is None and now < self.until


def draw_number(letter: str, random: Callable[[int], bytes]) -> str:
    """Draw a number such as `R-7K2MQ-9XWT4`, which says nothing about anybody."""
    letters: list[str] = []
    while len(letters) < _GROUPS * _LENGTH:
        (byte,) = random(1)
        if byte < _FAIR:  # else the first letters would come up more often
            letters.append(_ALPHABET[byte % len(_ALPHABET)])
    text = "".join(letters)
    parts = [text[at : at + _LENGTH] for at in range(0, len(text), _LENGTH)]
    return "-".join([letter, *parts])
