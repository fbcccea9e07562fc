"""The papers of an audit beside the holder's evidence: sample, openings and the case file.

    sample     which elements are to be opened, drawn by the auditor
    openings   what the desk says they were: the only one with identifiers in it
    cases      CSV with the columns case, kind, value; rows without a case are customers
               that screening may ask about

All but the last are JSON. They come from others and fail as `MalformedMessageError`.
"""

from __future__ import annotations

import base64
import binascii
import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compliance.evaluations.evidence import Evidence
from protocols.codec import canonical_json, parse_json
from protocols.errors import InvalidTableError, MalformedMessageError
from protocols.group.interface import SCALAR_SIZE
from protocols.identifiers import IdentifierKind, InvalidIdentifierError, canonicalize
from protocols.oprf.messages import REQUEST_ID_SIZE
from protocols.oprf.suite import MAX_BATCH

SAMPLE = "lianfang/desk/sample/v1"
OPENINGS = "lianfang/desk/openings/v1"


@dataclass(frozen=True, slots=True)
class Pick:
    """One element of one request."""

    request_id: bytes
    index: int


@dataclass(frozen=True, slots=True)
class Opening:
    """One element opened: what was asked, and the blind that hid it."""

    index: int
    canonical: bytes = field(repr=False)
    blind: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RequestOpening:
    """One request opened at some indices; the case is empty where it had none."""

    request_id: bytes
    batch: bytes = field(repr=False)
    reference: str = field(repr=False)
    salt: bytes = field(repr=False)
    opened: tuple[Opening, ...]


def format_sample(evidence: Evidence, picks: Sequence[Pick], seed: str) -> bytes:
    """Write a sample for the desk."""
    chosen = [{"request_id": pick.request_id.hex(), "index": pick.index} for pick in picks]
    head = {"format": SAMPLE, "asker": evidence.asker, "epoch": evidence.epoch, "seed": seed}
    return canonical_json(head | {"picks": chosen})


def parse_sample(data: bytes) -> tuple[int, list[Pick]]:
    """Read a sample; returns its epoch and elements.

    Raises:
        MalformedMessageError: on any other byte string.
    """
    value = _paper(data, SAMPLE, "sample")
    picks = [
        Pick(_hex(item, "request_id", REQUEST_ID_SIZE), _whole(item, "index", 0, MAX_BATCH - 1))
        for item in _list(value, "picks")
    ]
    return _whole(value, "epoch"), picks


def format_openings(openings: Sequence[RequestOpening]) -> bytes:
    """Write what the desk opens; it names persons and is for the auditor alone."""
    requests = [
        {
            "request_id": item.request_id.hex(),
            "batch": base64.b64encode(item.batch).decode(),
            "case": item.reference,
            "salt": item.salt.hex(),
            "opened": [
                {"index": one.index, "canonical": one.canonical.hex(), "blind": one.blind.hex()}
                for one in item.opened
            ],
        }
        for item in openings
    ]
    return canonical_json({"format": OPENINGS, "requests": requests})


def parse_openings(data: bytes) -> list[RequestOpening]:
    """Read what a desk opened.

    Raises:
        MalformedMessageError: on any other byte string.
    """
    value = _paper(data, OPENINGS, "openings")
    return [
        RequestOpening(
            _hex(item, "request_id", REQUEST_ID_SIZE),
            _base64(item, "batch"),
            _text(item, "case"),
            _hex(item, "salt"),
            tuple(
                Opening(
                    _whole(one, "index", 0, MAX_BATCH - 1),
                    _hex(one, "canonical"),
                    _hex(one, "blind", SCALAR_SIZE),
                )
                for one in _list(item, "opened")
            ),
        )
        for item in _list(value, "requests")
    ]


def read_cases(path: Path) -> dict[str, frozenset[bytes]]:
    """Read a case file: identifiers by case reference.

    Raises:
        InvalidTableError: names the row and the rule, never a value.
    """
    found: defaultdict[str, set[bytes]] = defaultdict(set)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"case", "kind", "value"} <= set(reader.fieldnames or ()):
                raise InvalidTableError("cases: needs the columns case, kind and value")
            for row, line in enumerate(reader, 1):
                found[line["case"]].add(_case_identifier(line, row))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidTableError("cases: the file cannot be read; export it again") from error
    return {case: frozenset(identifiers) for case, identifiers in found.items()}


def _case_identifier(line: dict[str, Any], row: int) -> bytes:
    try:
        return canonicalize(IdentifierKind(line["kind"]), line["value"] or "")
    except ValueError as error:
        raise InvalidTableError(f"cases: row {row}: unknown kind; correct it") from error
    except InvalidIdentifierError as error:
        raise InvalidTableError(f"cases: row {row}: {error}; correct it") from error


def _paper(data: bytes, form: str, subject: str) -> dict[str, Any]:
    value = parse_json(data, subject)
    if not isinstance(value, dict) or value.get("format") != form:
        raise MalformedMessageError(f"{subject}: not a paper of the form {form}")
    return value


def _list(value: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = value.get(name)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise MalformedMessageError(f"{name}: must be a list of objects")
    return found


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise MalformedMessageError(f"{name}: must be text")
    return found


def _whole(value: dict[str, Any], name: str, least: int = 0, most: int = 2**53 - 1) -> int:
    found = value.get(name)
    if type(found) is not int or not least <= found <= most:
        raise MalformedMessageError(f"{name}: must be a whole number in {least}..{most}")
    return found


def _hex(value: dict[str, Any], name: str, size: int | None = None) -> bytes:
    try:
        found = bytes.fromhex(_text(value, name))
    except ValueError as error:
        raise MalformedMessageError(f"{name}: must be hexadecimal") from error
    if size is not None and len(found) != size:
        raise MalformedMessageError(f"{name}: {len(found)} bytes, expected {size}")
    return found


def _base64(value: dict[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(_text(value, name), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedMessageError(f"{name}: must be base64") from error
