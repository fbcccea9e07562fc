"""Traditional Chinese and English: which one a reader gets, and the words.

The words lie in `texts/en.json` and `texts/zh.json` beside the pages that use them, one flat
object each: a key, and a text with `{name}` where a value goes. Both files have the same keys
with the same names; what is written in one language alone is an error at start-up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from importlib.resources import files
from string import Formatter

_MOST_RANGES = 20


class Language(StrEnum):
    """A language of the screens."""

    ZH = "zh"
    EN = "en"

    @property
    def tag(self) -> str:
        """Return the language tag: without region and script Han characters take wrong forms."""
        return "zh-Hant-TW" if self is Language.ZH else "en"

    @property
    def own_name(self) -> str:
        """Return what the language calls itself."""
        return "中文" if self is Language.ZH else "English"


class Catalogue:
    """All words of a site in every language.

    Raises:
        ValueError: a key or a name in a text is missing in one language, or given twice.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        self._texts: dict[Language, dict[str, str]] = {language: {} for language in Language}
        for package in packages:
            for language in Language:
                self._add(package, language)
        self._check()

    def text(self, language: Language, key: str, **values: object) -> str:
        """Return a text with its values.

        Raises:
            KeyError: there is no such text, or it lacks a value.
        """
        found = self._texts[language][key]
        return found.format_map(values) if values else found

    def has(self, key: str) -> bool:
        """Report whether there is a text of this key."""
        return key in self._texts[Language.EN]

    def texts(self, language: Language) -> Mapping[str, str]:
        """Return all texts of a language."""
        return self._texts[language]

    def _add(self, package: str, language: Language) -> None:
        path = files(package).joinpath("texts", f"{language}.json")
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        if twice := set(found) & set(self._texts[language]):
            raise ValueError(f"{package}: {min(twice)} has a text elsewhere")
        self._texts[language].update(found)

    def _check(self) -> None:
        english, chinese = self._texts[Language.EN], self._texts[Language.ZH]
        if lacking := set(english) ^ set(chinese):
            raise ValueError(f"texts: {min(lacking)} is written in one language alone")
        for key, text in english.items():
            if names_in(text) != names_in(chinese[key]):
                raise ValueError(f"texts: {key} has other values in the other language")


def names_in(text: str) -> frozenset[str]:
    """Return the names of the values that a text takes."""
    return frozenset(name for _, name, _, _ in Formatter().parse(text) if name is not None)


def parse_language(value: str) -> Language | None:
    """Read a language as the cookie and the form have it."""
    return Language(value) if value in set(Language) else None


def preferred(accept: str) -> Language:
    """Return the language that an Accept-Language field asks for, Chinese where it asks for none.

    Source:
        RFC 9110, section 12.5.4; the quality of a range decides, then its place.
    """
    best, found = 0.0, Language.ZH
    for item in accept.split(",")[:_MOST_RANGES]:
        tag, _, parameter = item.partition(";")
        language = parse_language(tag.strip().lower().partition("-")[0])
        quality = _quality(parameter)
        if language is not None and quality > best:
            best, found = quality, language
    return found


def _quality(parameter: str) -> float:
    matched = re.fullmatch(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*", parameter)
    if not parameter.strip():
        return 1.0
    return min(float(matched[1]), 1.0) if matched else 0.0
