"""The real demonstration, and no word of a person outside the owners' directories.

Everything that it wrote is searched: the hub's directory, the other partners', the exported
log, all logs of processes and what the command said. Looked for are all identifiers of the
town, plain, wide, encoded and hashed, and the values of its tables. What a partner may have
is what stands in its own table and reports.
"""

import csv
import gzip
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from hashlib import md5, sha256
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

from clients.demo.lookups import people_may_look
from protocols.identifiers import IdentifierKind, canonicalize
from tests.needles import Needles, contents, forms_of, values_of

PARTNERS = ("insurer", "telecom", "police")
PEOPLE, SEED = 3_000, 5
# What lies in a partner's directory and is made for others to read.
PUBLISHED = ("log", "log-second", "agreements", "policies", "welcome.json")
ROWS = 600  # of every table, whose values are looked for


class Town:
    """What a demonstration left, and what must not be where."""

    def __init__(self, root):
        self.root = root
        self.tables = {
            name: pl.read_parquet(root / "town" / name / "table.parquet") for name in PARTNERS
        }
        self.people = {name: set(table["id"]) for name, table in self.tables.items()}
        everybody = set().union(*self.people.values())
        found = {}
        for text in sorted(everybody):
            canonical = canonicalize(IdentifierKind.TW_NATIONAL_ID, text)
            for needle, word in forms_of(text, canonical).items():
                found[needle] = (text, word)
        self.identifiers = Needles(found)
        self.values = Needles(self.features())

    def features(self):
        found = {}
        for name, table in self.tables.items():
            numeric = table.select(pl.selectors.numeric())
            for row in numeric.head(ROWS).iter_rows():
                found |= {needle: (name, word) for needle, word in values_of(row).items()}
            for column in numeric.head(ROWS).iter_columns():
                if column.n_unique() > ROWS // 3:
                    runs = values_of(column.to_list(), most=ROWS)
                    found |= {needle: (name, word) for needle, word in runs.items()}
        return found

    def owner(self, path):
        """Return who alone reads a file; nobody, where it is made for others too."""
        first, *others = path.relative_to(self.root).parts
        if first == "town":
            return others[0]
        of_others = path.suffix == ".log" or path.name == f"{first}-request.json"
        if first not in PARTNERS or of_others or others[0] in PUBLISHED:
            return None
        return first

    def files(self, root=None):
        skipped = self.root / "town" / "truth"  # the simulation's own, of no party
        return [
            path
            for path in sorted((root or self.root).rglob("*"))
            if path.is_file() and not path.is_relative_to(skipped)
        ]

    def leaks(self):
        """Return what was found outside its owner's directory, by file."""
        found = {}
        for path in self.files():
            owner, words = self.owner(path), set()
            for data in contents(path):
                words |= self.in_bytes(data, owner)
            if words:
                found[path.relative_to(self.root).as_posix()] = words
        return found

    def in_bytes(self, data, owner=None):
        own = self.people.get(owner, set())
        people = {word for text, word in self.identifiers.found_in(data) if text not in own}
        values = {word for name, word in self.values.found_in(data) if name != owner}
        return {f"identifier {word}" for word in people} | {f"value {word}" for word in values}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp("leaks") / "demo"
    command = [
        sys.executable, "-m", "clients.cli", "demo", "--directory", root,
        "--people", str(PEOPLE), "--seed", str(SEED), "--format", "json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["evidence"]["entries"] > 0
    (root / "logs" / "said.log").write_bytes(done.stdout + done.stderr)
    return Town(root)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_of_a_person_is_outside_its_owners_directory(demo):
    names = {path.relative_to(demo.root).parts[0] for path in demo.files()}
    assert names >= {"hub", "logs", "evidence", *PARTNERS}
    assert (demo.root / "hub" / "log" / "log.sqlite").exists()
    assert sum(demo.owner(path) is None for path in demo.files()) > 40
    assert demo.leaks() == {}


@pytest.mark.slow
def test_every_person_and_every_kind_of_value_is_looked_for(demo):
    for name in PARTNERS:
        table = demo.root / "town" / name / "table.parquet"
        found = {word for data in contents(table) for word in demo.identifiers.found_in(data)}
        assert {text for text, word in found if word == "plain"} == demo.people[name]
        others = {word for data in contents(table) for word in demo.in_bytes(data)}
        assert "value text" in others, name


@pytest.mark.slow
def test_search_finds_whatever_is_planted(demo, tmp_path):
    copy = tmp_path / "copy"
    for part in ("hub", "logs", "police", "evidence"):
        shutil.copytree(demo.root / part, copy / part)
    planted = plant(demo, copy)
    town, demo.root = demo.root, copy
    try:
        assert {name: words & planted.get(name, set()) for name, words in demo.leaks().items()} == (
            planted
        )
    finally:
        demo.root = town


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_its_screens_open_again_on_the_same_data_and_leak_nothing(demo):
    command = [
        sys.executable, "-m", "clients.cli", "demo", "--serve", "--directory", demo.root,
        "--port", "0", "--format", "json",
    ]  # fmt: skip
    said = demo.root / "logs" / "served.log"
    with said.open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    try:
        ends_at = time.monotonic() + 200
        while "ready;" not in said.read_text():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < ends_at, said.read_text()
            time.sleep(0.2)
        addresses = dict(re.findall(r"(?m)^(\w+) +(https://\S+)/$", said.read_text()))
        assert addresses.keys() == {"hub", *PARTNERS}
        for address in addresses.values():
            assert "DEMO DATA" in httpx.get(f"{address}/signin", verify=False).text
        check_desk(addresses["insurer"], demo.root)
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(output)["state"] == "stopped"
    assert demo.leaks() == {}


def check_desk(address, root):
    """A clerk signs in and asks about the customers that the demonstration names."""
    with httpx.Client(base_url=address, verify=False) as browser:
        browser.headers["accept-language"] = "en"

        def post(path, **fields):
            page = browser.get(path.split("?", maxsplit=1)[0]).text
            token = re.search(r'name="token" value="([0-9a-f]+)"', page)[1]
            sent = {"origin": address, "sec-fetch-site": "same-origin"}
            return browser.post(
                path, data={"token": token} | fields, headers=sent, follow_redirects=True
            )

        password = (root / "passwords" / "lin").read_text()
        assert "Lin" in post("/signin", account="lin", password=password, next="/").text
        with (root / "town" / "truth" / "try.csv").open() as file:
            customers = list(csv.DictReader(file))
        assert {row["light"] for row in customers} == {"red", "yellow", "green"}
        is_day = people_may_look()
        for row in customers:
            found = post("/desk", identifier=row["value"], kind="", purpose="counter", case="D-1")
            if is_day:
                assert f'class="light {row["light"]}"' in found.text, row["what"]
            else:
                assert found.status_code == 403
                assert "do not permit this check" in found.text


def plant(demo, root: Path) -> dict[str, set[str]]:
    """Put a leak of every kind into a copy; returns what must be found, by file."""
    only = sorted(demo.people["telecom"] - demo.people["police"] - demo.people["insurer"])
    person = only[7]
    canonical = canonicalize(IdentifierKind.TW_NATIONAL_ID, person)
    table = demo.tables["telecom"].select(pl.selectors.numeric())
    row = next(row for row in table.head(ROWS).iter_rows() if len(values_of(row)) > 50)
    row = [value or 0 for value in row]
    with (root / "logs" / "hub.log").open("a") as log:
        log.write(f"answered {person.lower()}\n")
    (root / "hub" / "digest.bin").write_bytes(b"x" * 13 + sha256(canonical).digest() + b"y")
    (root / "hub" / "short.txt").write_text(md5(person.encode()).hexdigest()[:20])
    (root / "evidence" / "wide.txt").write_text(f"<{person}>", encoding="utf-16-le")
    with gzip.open(root / "hub" / "packed.gz", "wb") as file:
        file.write(b"a" * 1000 + canonical)
    with zipfile.ZipFile(root / "evidence" / "pack.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.json", json.dumps({"who": person.encode().hex()}))
    (root / "hub" / "row.npy").write_bytes(b"123" + np.array(row, "<f4").tobytes())
    (root / "hub" / "row.json").write_text(json.dumps(row))
    pl.DataFrame({"who": only}).write_parquet(root / "police" / "theirs.parquet")
    (root / "police" / "log").mkdir(exist_ok=True)
    own = sorted(demo.people["police"])[3]
    (root / "police" / "log" / "entry.json").write_text(own)
    # In a page that is free, after the row was deleted, and in a cell.
    with sqlite3.connect(root / "hub" / "log" / "log.sqlite") as connection:
        connection.execute("CREATE TABLE note (text BLOB)")
        connection.execute("INSERT INTO note VALUES (?)", (b"q" * 9_000 + person.encode(),))
    connection.close()
    return {
        "logs/hub.log": {"identifier lower"},
        "hub/digest.bin": {"identifier sha256"},
        "hub/short.txt": {"identifier md5"},
        "evidence/wide.txt": {"identifier wide"},
        "hub/packed.gz": {"identifier plain"},
        "evidence/pack.zip": {"identifier hex"},
        "hub/row.npy": {"value <f4"},
        "hub/row.json": {"value text"},
        "police/theirs.parquet": {"identifier plain"},
        "police/log/entry.json": {"identifier plain"},
        "hub/log/log.sqlite": {"identifier plain"},
    }
