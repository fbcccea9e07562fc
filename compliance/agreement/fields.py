"""Reading the fields of a document that others wrote: every defect names field, rule and cure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from protocols.errors import MalformedMessageError

MAX_TEXT = 500
MAX_SAFE_INTEGER = 2**53 - 1
_HEX = re.compile(r"[0-9a-f]*", re.ASCII)
_Kind = TypeVar("_Kind", bound=StrEnum)
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object with exactly the named fields.

    Args:
        path: where it stands in the document, for messages.
    """

    values: Mapping[str, Any]
    path: str

    @classmethod
    def of(cls, value: object, names: set[str], path: str) -> Fields:
        """Take an object that has exactly these fields.

        Raises:
            MalformedMessageError: no object, or a field is missing or unknown.
        """
        if not isinstance(value, dict):
            raise defect(path, "must be an object")
        if missing := sorted(names - set(value)):
            raise defect(path, f"the field {missing[0]} is missing", "add it")
        if unknown := sorted(set(value) - names):
            raise defect(path, f"unknown field {unknown[0][:32]}", "remove it")
        return cls(value, path)

    def at(self, name: str) -> str:
        """Return the path of a field."""
        return f"{self.path}.{name}"

    def text(self, name: str, *, most: int = MAX_TEXT) -> str:
        """Return a printable text that is not empty."""
        return read_text(self.values[name], self.at(name), most=most)

    def matched(self, name: str, pattern: re.Pattern[str], rule: str) -> str:
        """Return a text that has a given shape."""
        return read_matched(self.values[name], pattern, rule, self.at(name))

    def choice(self, name: str, kind: type[_Kind]) -> _Kind:
        """Return one of a closed list of words."""
        return read_choice(self.values[name], kind, self.at(name))

    def whole(self, name: str, *, least: int = 0, most: int = MAX_SAFE_INTEGER) -> int:
        """Return a whole number within bounds; true and 1.0 are none."""
        value = self.values[name]
        if type(value) is not int or not least <= value <= most:
            raise defect(self.at(name), f"must be a whole number in {least}..{most}")
        return value

    def number(self, name: str, *, most: float) -> float:
        """Return a number greater than 0 and at most `most`."""
        return read_number(self.values[name], self.at(name), most=most)

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self.values[name]
        if not isinstance(value, bool):
            raise defect(self.at(name), "must be true or false")
        return value

    def digest(self, name: str, size: int = 32) -> bytes:
        """Return lower-case hexadecimal of `size` bytes."""
        value = self.values[name]
        if not isinstance(value, str) or len(value) != 2 * size or not _HEX.fullmatch(value):
            raise defect(self.at(name), f"must be {2 * size} hexadecimal digits, lower case")
        return bytes.fromhex(value)

    def items(self, name: str, *, least: int = 0, most: int = 4096) -> list[Any]:
        """Return a list of so many items."""
        value = self.values[name]
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise defect(self.at(name), f"must be a list of {least} to {most}")
        return value

    def texts(self, name: str, *, least: int = 0, most: int = 4096) -> tuple[str, ...]:
        """Return a list of texts, each once."""
        found = self.items(name, least=least, most=most)
        texts = tuple(
            read_text(item, f"{self.at(name)}[{index}]") for index, item in enumerate(found)
        )
        return distinct(texts, self.at(name))

    def choices(self, name: str, kind: type[_Kind], *, least: int = 0) -> tuple[_Kind, ...]:
        """Return a list of words of a closed list, each once."""
        found = self.items(name, least=least)
        words = tuple(
            read_choice(item, kind, f"{self.at(name)}[{index}]") for index, item in enumerate(found)
        )
        return distinct(words, self.at(name))

    def mapping(self, name: str) -> dict[str, Any]:
        """Return an object with keys of its own."""
        value = self.values[name]
        if not isinstance(value, dict):
            raise defect(self.at(name), "must be an object")
        return value


def defect(path: str, rule: str, cure: str = "correct it") -> MalformedMessageError:
    """Return the error that tells a defect of a document."""
    return MalformedMessageError(f"{path}: {rule}; {cure}")


def distinct(items: tuple[_Item, ...], path: str) -> tuple[_Item, ...]:
    """Refuse a list that names something twice."""
    if len(set(items)) != len(items):
        raise defect(path, "names one thing twice", "name each once")
    return items


def read_text(value: object, path: str, *, most: int = MAX_TEXT) -> str:
    """Return a printable text of 1 to `most` characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= most or not value.isprintable():
        raise defect(path, f"must be printable text of 1 to {most} characters")
    return value


def read_matched(value: object, pattern: re.Pattern[str], rule: str, path: str) -> str:
    """Return a text that has a given shape."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise defect(path, f"must be {rule}")
    return value


def read_choice(value: object, kind: type[_Kind], path: str) -> _Kind:
    """Return one of a closed list of words."""
    try:
        return kind(str(value))
    except ValueError as error:
        raise defect(path, f"must be one of {', '.join(kind)}", "take one of these") from error


def read_number(value: object, path: str, *, most: float) -> float:
    """Return a finite number greater than 0 and at most `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise defect(path, "must be a number")
    # Asked this way round, a number that is none is refused.
    if not (0 < value <= most and math.isfinite(value)):
        raise defect(path, f"must be greater than 0 and at most {most:g}")
    return float(value)
