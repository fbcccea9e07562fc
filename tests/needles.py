"""Searching whatever was written for many short byte strings at once, every offset of it.

A needle is found by that part of it that says most: a table of bits tells almost all places
apart from those where one could stand, and these are looked at. So a hundred megabytes are
searched for a million needles in a minute. Files that compress are opened, databases are
read cell by cell as well as page by page.
"""

import base64
import gzip
import hashlib
import io
import sqlite3
import zipfile

import numpy as np
import polars as pl

WIDTHS = (32, 16, 8)
LEAST = min(WIDTHS)
_BITS = 25
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_PIECE = 1 << 24


class Needles:
    """Byte strings of at least eight bytes, each with a word for what it is."""

    def __init__(self, words):
        self.words = dict(words)
        self.longest = max(map(len, self.words))
        self.groups = {}
        for needle in self.words:
            width = next(width for width in WIDTHS if width <= len(needle))
            at = _best_part(needle, width)
            parts = self.groups.setdefault(width, {})
            parts.setdefault(needle[at : at + width], []).append((at, needle))
        self.tables = {width: _table(parts, width) for width, parts in self.groups.items()}

    def found_in(self, data):
        """Return the words of all needles that stand anywhere in the data."""
        found = set()
        for begin in range(0, len(data), _PIECE):
            piece = data[begin : begin + _PIECE + self.longest]
            for width in self.groups:
                for shift in range(8):
                    for at in self._places(piece, width, shift):
                        found |= self._at(piece, width, at)
        return found

    def _places(self, data, width, shift):
        """Return where a needle's part could stand, at one alignment to eight bytes."""
        if len(data) < shift + width:
            return []
        words = np.frombuffer(data, np.uint64, (len(data) - shift) // 8, shift)
        sums = _sums(words, width)
        bits, wanted = self.tables[width]
        places = np.flatnonzero(bits[_spread(sums)])
        near = np.searchsorted(wanted, sums[places]).clip(max=len(wanted) - 1)
        places = places[wanted[near] == sums[places]]
        return (shift + 8 * places).tolist()

    def _at(self, data, width, at):
        return {
            self.words[needle]
            for ahead, needle in self.groups[width].get(data[at : at + width], ())
            if ahead <= at and data.startswith(needle, at - ahead)
        }


def _best_part(needle, width):
    """Return where in a needle the part begins that says most: zeros stand everywhere."""
    ends = range(len(needle) - width + 1)
    return max(ends, key=lambda at: len(set(needle[at : at + width])))


def _table(parts, width):
    words = np.frombuffer(b"".join(parts), np.uint64)
    sums = _sums(words, width)[:: width // 8]
    bits = np.zeros(1 << _BITS, bool)
    bits[_spread(sums)] = True
    return bits, np.sort(sums)


def _sums(words, width):
    """Mix each word with those that follow it, as many as `width` has."""
    count = width // 8
    sums = np.zeros(len(words) - count + 1, np.uint64)
    for number in range(count):
        sums = (sums ^ words[number : number + len(sums)]) * _FACTOR
        sums ^= sums >> np.uint64(29)
    return sums


def _spread(sums):
    return sums >> np.uint64(64 - _BITS)


def contents(path):
    """Yield a file as it is, and what its form hides: members, columns, cells."""
    data = path.read_bytes()
    yield data
    if data.startswith(b"PK\3\4"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield archive.read(name)
    elif data.startswith(b"\x1f\x8b"):
        yield gzip.decompress(data)
    elif data.startswith(b"PAR1"):
        frame = pl.read_parquet(io.BytesIO(data))
        yield frame.cast(pl.String, strict=False).write_csv().encode()
        for column in frame.select(pl.selectors.numeric()).iter_columns():
            yield column.to_numpy().tobytes()
    elif data.startswith(b"SQLite format 3\0"):
        yield b"\n".join(_cells(path))


def _cells(path):
    # Read in place: beside it lie the pages that are not in the main file yet.
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        yield "\n".join(names).encode()
        for (name,) in tables.fetchall():
            for row in connection.execute(f'SELECT * FROM "{name}"'):
                yield from (cell if isinstance(cell, bytes) else str(cell).encode() for cell in row)
    finally:
        connection.close()


def forms_of(text, canonical):
    """All forms in which an identifier could stand somewhere: plain, wide, encoded, hashed.

    Of a hash the first eight bytes are looked for, so that a shortened one is found too.
    """
    found = {text.lower().encode(): "lower", text.encode(): "plain"}
    found[text.encode("utf-16-le")] = found[text.encode("utf-16-be")] = "wide"
    for base in (text.encode(), text.lower().encode()):
        found[base.hex().encode()] = found[base.hex().upper().encode()] = "hex"
        for skipped in range(3):
            # The characters of base64 that no neighbour has a part in, at each alignment.
            inner = base64.b64encode(bytes(skipped) + base)[4 if skipped else 0 :]
            found[inner[: (len(inner) - 4) // 4 * 4]] = "base64"
    # The canonical form holds the plain one, and is found by it.
    for base in (text.encode(), text.lower().encode(), canonical):
        for kind in ("md5", "sha1", "sha256", "sha512", "blake2b", "sha3_256"):
            digest = hashlib.new(kind, base).digest()
            found[digest[:8]] = kind
            found[digest[:8].hex().encode()] = found[digest[:8].hex().upper().encode()] = kind
            found[base64.b64encode(digest[:9])] = kind
    return {needle: word for needle, word in found.items() if len(needle) >= LEAST}


def values_of(row, *, most=40):
    """Runs of neighbouring numbers that say at least eight significant digits together.

    Each as text and as the bytes of every usual width, so that a copied row or column is
    found wherever it stands; runs that any list of numbers could hold are left out.
    """
    found = {}
    for run in _runs(row, most):
        texts = [f"{value:g}" if value != int(value) else str(int(value)) for value in run]
        for text in (",".join(texts), ", ".join(texts), "\t".join(texts), " ".join(texts)):
            found[text.encode()] = "text"
        floats = ", ".join(repr(float(value)) for value in run)
        found[floats.encode()] = "text"
        found[floats.replace(" ", "").encode()] = "text"
        kinds = ("<f4", "<f8", ">f8") + (("<i4", "<i8") if len(texts) == len(run) else ())
        for kind in kinds:
            found[np.array(run).astype(kind).tobytes()] = kind
    return {needle: word for needle, word in found.items() if len(needle) >= LEAST}


def _runs(row, most):
    made = begin = 0
    while made < most and begin < len(row):
        run, digits = [], 0
        for value in row[begin:]:
            if value is None:
                break
            run.append(value)
            digits += len(str(abs(value)).replace(".", "").strip("0"))
            if digits >= 8 and len(run) > 1:
                break
        begin += max(1, len(run))
        sorted_ones = (sorted(run), sorted(run, reverse=True))
        if digits >= 8 and len(set(run)) >= min(len(run), 5) and (
            len(run) == 2 or run not in sorted_ones
        ):  # fmt: skip
            made += 1
            yield run
