"""The words of an agreement: roles, directions, channels, and the closed list of purposes.

Purposes are IRIs of the W3C Data Privacy Vocabulary 2.3; which of them may stand in an
agreement is data (`purposes.json`), with titles in English and Traditional Chinese.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

from protocols.lookup.request import Purpose as Channel

__all__ = ["Channel", "Role", "Title", "What", "purposes", "title_of"]


class Role(StrEnum):
    """What a party is in the joint defence."""

    INSURER = "insurer"
    TELECOM = "telecom"
    POLICE = "police"
    HUB = "hub"


class What(StrEnum):
    """What flows from one party to another.

    training    columns or labels of the sender enter, encoded and secret-shared, a model of
                which the recipient gets its part
    lookup      blinded identifiers of the sender's own people, to a holder of the key, which
                learns nothing of them but their number
    report      sealed reports of the sender, to a party that may find those it asks about
    score       the joint score of a person, made with columns of the sender, to the recipient
    """

    TRAINING = "training"
    LOOKUP = "lookup"
    REPORT = "report"
    SCORE = "score"


@dataclass(frozen=True, slots=True)
class Title:
    """One heading in the two languages of the project."""

    en: str
    zh: str

    def text(self, language: str) -> str:
        """Return the heading in `zh`, or in English."""
        return self.zh if language == "zh" else self.en


@cache
def purposes() -> Mapping[str, Title]:
    """Return the purposes that an agreement may name, by IRI, in the order of the list."""
    text = files(__package__).joinpath("purposes.json").read_text(encoding="utf-8")
    return {item["iri"]: Title(item["en"], item["zh"]) for item in json.loads(text)["purposes"]}


def title_of(purpose: str, language: str) -> str:
    """Return the heading of a purpose, or its IRI if it has none."""
    found = purposes().get(purpose)
    return purpose if found is None else found.text(language)
