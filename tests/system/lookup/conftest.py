"""A town with lookups: a hub without Flower, key holders, feeds and a desk, all real processes.

One town gets its epoch and its tables once; every test works in a copy of it. Its people are
synthetic, with right check digits, and can be searched for in everything that was written.
"""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from clients.demo.bringing_up import ACTING, AGREEING
from compliance.commands.acting import PASSWORDS
from compliance.evaluations.book import BookEntry
from compliance.evaluations.reading import read_book
from protocols.identifiers import national_checksum
from protocols.lookup.payload import format_month, month_of

HOLDERS = ("police", "telecom")
CUSTOMERS, REDS, YELLOWS, CARES = 900, 40, 40, 20
NEVER = ("clients.desk.screening:_write", "never", 1)
BY_TWO = ("--as", ACTING, "--second", AGREEING)
COMMANDS = {"lianfang": "clients.cli", "lianfang-hub": "server.cli"}
# A national number as text, and as the hexadecimal of it.
NUMBERS = re.compile(rb"[A-Z][12][0-9]{8}")
IN_HEX = re.compile(rb"(?:4[1-9a-f]|5[0-9a])3[12](?:3[0-9]){8}", re.IGNORECASE)

# A command that kills itself at one exact place, as a power cut would. Arguments: the place as
# module:function, when, at which call; the command's module; then the command's own.
KILLED = """
import os, signal, sys
from importlib import import_module

import clients.desk.desk

where, when, count, command = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
sys.argv = [sys.argv[0], *sys.argv[5:]]
module, _, path = where.partition(":")
owner = import_module(module)
*parents, name = path.split(".")
for parent in parents:
    owner = getattr(owner, parent)
installed = getattr(owner, name)
seen = 0


def called(*arguments, **options):
    global seen
    seen += 1
    if seen == count and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = installed(*arguments, **options)
    if seen == count and when == "torn":
        descriptor = arguments[1]
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - 100)
    if seen == count and when in ("after", "torn"):
        os.kill(os.getpid(), signal.SIGKILL)
    return result


setattr(owner, name, called)
# Fifteen batches in place of one.
clients.desk.desk.Desk.__init__.__kwdefaults__["batch"] = 64
import_module(command).main()
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command wrote, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def fields(self) -> dict:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class People:
    """Customers of the insurer, by what the police say of them."""

    red: list[str]
    yellow: list[str]
    care: list[str]
    green: list[str]

    @property
    def all(self) -> list[str]:
        return [*self.red, *self.yellow, *self.care, *self.green]


@dataclass(frozen=True, slots=True)
class Lookups:
    """One town, its commands and its books.

    Args:
        place: the town's directories and processes.
        until: waits for a condition.
    """

    place: object
    until: object

    @property
    def root(self) -> Path:
        return self.place.root

    @property
    def hub(self) -> Path:
        return self.place.hub

    def node(self, name: str) -> Path:
        return self.place.node(name)

    def data(self, owner: str, file: str) -> Path:
        return self.root / "data" / owner / file

    def start(self, holders=HOLDERS) -> None:
        self.serve()
        for name in holders:
            self.hold(name)

    def serve(self, place=NEVER) -> subprocess.Popen:
        """Serve the hub without Flower, in a process that may kill itself."""
        start = ("-m", "server.cli") if place is NEVER else dying(place, "lianfang-hub")
        return self.spawn("Next:", "hub", *start, "serve", str(self.hub), "--no-flower")

    def hold(self, name: str, place=NEVER) -> subprocess.Popen:
        """Start a partner's key holder, which may kill itself; wait until the hub has let it in."""
        start = ("-m", "clients.cli") if place is NEVER else dying(place, "lianfang")
        arguments = (*start, "holder", "start", str(self.node(name)))
        return self.spawn("standing link: connected", name, *arguments)

    def connected(self, *names: str) -> None:
        """Wait until the hub, started anew, has these holders back."""
        said = ("epoch", "status", self.hub)
        self.until(lambda: set(names) <= set(self.lianfang_hub(*said).fields["connected"]), 60)

    def spawn(self, words: str, name: str, *arguments: str) -> subprocess.Popen:
        """Start a long-lived process and wait until its log says that it is up."""
        path = self.root / "logs" / f"{name}.log"
        before = len(self.place.log(name)) if path.exists() else 0
        process = self.place.spawn(name, *arguments)
        self.until(lambda: words in self.place.log(name)[before:] or process.poll() is not None, 60)
        assert process.poll() is None, self.place.log(name)
        return process

    def lianfang(self, *words, **options) -> Said:
        return self.tell("lianfang", *words, **options)

    def lianfang_hub(self, *words, **options) -> Said:
        return self.tell("lianfang-hub", *words, **options)

    def tell(
        self, name: str, *words, stdin: str = "", code: int | None = 0, text: bool = False
    ) -> Said:  # fmt: skip
        """Run a command to its end; all that it writes is kept in the log of the commands.

        Args:
            code: how it must end; None for any way.
        """
        said = [*map(str, words), *([] if text else ["--format", "json"])]
        done = subprocess.run(
            [sys.executable, "-m", COMMANDS[name], *said],
            input=stdin, capture_output=True, text=True, check=False,
            env=os.environ | {PASSWORDS: str(self.root / "passwords")},
        )  # fmt: skip
        (self.root / "logs").mkdir(exist_ok=True)
        with (self.root / "logs" / "commands.log").open("a") as log:
            log.write(done.stdout + done.stderr)
        assert code is None or done.returncode == code, (said, done.stdout, done.stderr)
        return Said(done.returncode, done.stdout, done.stderr)

    def check(self, person: str, *more: str, **options) -> Said:
        """Ask the insurer's desk for the light of one person."""
        words = ("--case", "C-2026-118", "--kind", "tw_national_id", *more)
        return self.lianfang(
            "desk", "check", self.node("insurer"), *words, stdin=f"{person}\n", **options
        )

    def screening(self, file: Path, out: Path, *more: str) -> tuple:
        """Return the words of a screening at the insurer's desk."""
        desk = ("desk", "screen", self.node("insurer"), file, "--out", out, "--yes")
        return (*desk, "--column", "person", "--kind", "tw_national_id", *more)

    def screen(self, place=NEVER) -> subprocess.Popen:
        """Start a screening in small batches, in a process that may kill itself."""
        customers, out = self.data("insurer", "customers.csv"), self.data("insurer", "lights.csv")
        words = map(str, self.screening(customers, out))
        return self.place.spawn("desk", *dying(place, "lianfang"), *words)

    def screen_on(self) -> dict:
        """Give the screening once more, by the plain command, as an operator would."""
        customers, out = self.data("insurer", "customers.csv"), self.data("insurer", "lights.csv")
        return self.lianfang(*self.screening(customers, out)).fields

    def publish(self, name: str, **options) -> Said:
        return self.lianfang(
            "feed", "publish", self.node(name), self.data(name, "reports.csv"), **options
        )

    def begin_epoch(self, code: int = 0, **options) -> Said:
        choices = {
            "purposes": "insurer=counter,call_centre,online,screening,alignment",
            "quota": "insurer=50000",
            # Of the parties of the agreement these have a holder that runs.
            "holders": "hub,police,telecom",
            "population": "40000",
        } | options
        more = [text for name, value in choices.items() for text in (f"--{name}", value)]
        return self.lianfang_hub("epoch", "begin", self.hub, *more, *BY_TWO, code=code)

    def refresh(self, code: int = 0) -> Said:
        """Give every holder a new share of the key in force."""
        return self.lianfang_hub("epoch", "refresh", self.hub, *BY_TWO, code=code)

    def hold_again(self, name: str, place) -> subprocess.Popen:
        """Stop a holder that is up, and start it as one that will kill itself."""
        position = 1 + HOLDERS.index(name)
        process = self.place.started[position]
        process.terminate()
        assert process.wait(10) == 0
        self.hold(name, place)
        self.place.started[position] = self.place.started.pop()
        return self.place.started[position]

    def newest(self) -> tuple[int, str, list[str]]:
        """The newest epoch's generation and state, and who has not confirmed it."""
        last = self.lianfang_hub("epoch", "status", self.hub).fields["epochs"][-1]
        return last["generation"], last["state"], sorted(last["waiting"])

    def works(self, people: People) -> bool:
        """Publish, and ask with the telecom's share, whose holder was killed before."""
        for name in HOLDERS:
            self.publish(name)
        police = self.place.started[1]
        police.terminate()
        assert police.wait(10) == 0
        lights = [self.check(person).fields["light"] for person in (people.red[0], people.green[0])]
        return lights == ["red", "green"] and self.used("hub") == self.used("telecom") == 2

    def book(self, holder: str, *, epoch: int = 1, asker: str = "insurer") -> list[BookEntry]:
        """What a holder has charged an asker for."""
        owner = self.hub if holder == "hub" else self.node(holder)
        with read_book(owner) as book:
            return [entry for entry in book.entries(epoch) if entry.asker == asker]

    def used(self, holder: str, *, epoch: int = 1, asker: str = "insurer") -> int:
        return sum(entry.count for entry in self.book(holder, epoch=epoch, asker=asker))

    def leaks(self, people) -> list[Path]:
        """Files that name one of these people, other than those that were given to a party."""
        wanted = {person.encode() for person in people}
        given = self.root / "data"
        return [
            path
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and not path.is_relative_to(given) and holds(path, wanted)
        ]


def dying(place: tuple[str, str, int], command: str) -> tuple[str, ...]:
    """A command that is killed at a place: a function, before or after it, at which call."""
    where, when, count = place
    return "-c", KILLED, where, when, str(count), COMMANDS[command]


def holds(path: Path, wanted: set[bytes]) -> bool:
    """Whether a file has one of the numbers in it: as text, as wide text or as hexadecimal."""
    data = path.read_bytes()
    texts = (data, data.replace(b"\0", b"")) if b"\0" in data else (data,)
    found = {text for part in texts for text in NUMBERS.findall(part)}
    found |= {bytes.fromhex(text.decode()) for part in texts for text in IN_HEX.findall(part)}
    return not wanted.isdisjoint(found)


@pytest.fixture(scope="session")
def numbers():
    return national_numbers


@pytest.fixture(scope="session")
def people() -> People:
    made = iter(national_numbers(CUSTOMERS, seed=11))
    red, yellow, care = ([next(made) for _ in range(size)] for size in (REDS, YELLOWS, CARES))
    return People(red, yellow, care, list(made))


@pytest.fixture(scope="session")
def make_cold_town(make_place, wait_for, people):
    """Make a town whose parties have their files; nothing runs in it, and it has no epoch."""

    def make(name: str) -> Lookups:
        made = Lookups(make_place(name), wait_for)
        write_files(made, people)
        return made

    return make


@pytest.fixture(scope="session")
def make_bare_town(make_cold_town):
    """Serve a town whose parties have their files; no epoch yet."""

    def make(name: str) -> Lookups:
        made = make_cold_town(name)
        made.start()
        return made

    return make


@pytest.fixture(scope="session")
def lookup_template(make_bare_town) -> Lookups:
    """A town with an epoch in force and the tables of police and telecom; nothing runs in it."""
    made = make_bare_town("lookup")
    made.begin_epoch()
    for name in HOLDERS:
        made.publish(name)
    made.place.stop()
    return made


@pytest.fixture(scope="session")
def undisturbed(make_town):
    """The result of a screening when nothing happens; only one holder is up beside the hub."""
    made = make_town("undisturbed", ("telecom",))
    assert made.screen_on()["evaluated"] == made.used("hub") == made.used("telecom") == CUSTOMERS
    made.place.stop()
    return made.data("insurer", "lights.csv").read_bytes()


@pytest.fixture(scope="session")
def check_end(undisturbed, people):
    """Compare a town, after all that was killed in it, with the undisturbed one."""

    def check(town: Lookups) -> None:
        out = town.data("insurer", "lights.csv")
        assert out.read_bytes() == undisturbed
        lights = dict(zip(people.all, pl.read_csv(out)["light"].to_list(), strict=True))
        assert {lights[person] for person in people.red} == {"red"}
        assert {lights[person] for person in people.yellow} == {"yellow"}
        books = {
            name: {entry.request_id: (entry.digest, entry.count) for entry in town.book(name)}
            for name in ("hub", "telecom")
        }
        assert books["hub"] == books["telecom"]
        assert town.used("hub") == town.used("telecom") == len(people.all)
        # A query whose answer was kept and not yet put away stays where an auditor finds it.
        assert len(list((town.node("insurer") / "lookup" / "queries" / "open").iterdir())) <= 1
        status = town.lianfang("desk", "status", town.node("insurer")).fields
        assert (status["cached"], status["quota"]["used"]) == (CUSTOMERS, CUSTOMERS)
        assert all("Traceback" not in log.read_text() for log in (town.root / "logs").iterdir())
        assert town.leaks(people.all) == []

    return check


@pytest.fixture(scope="session")
def make_from_template(lookup_template, make_place, wait_for):
    """Copy that town; nothing runs in the copy."""
    return lambda name: Lookups(make_place(name, lookup_template.place), wait_for)


@pytest.fixture(scope="session")
def make_town(make_from_template):
    """Copy that town and serve it, with these holders."""

    def make(name: str, holders=HOLDERS) -> Lookups:
        made = make_from_template(name)
        made.start(holders)
        return made

    return make


def national_numbers(count: int, *, seed: int) -> list[str]:
    """National numbers with right check digits, spread wide."""
    random = np.random.default_rng(seed)
    made: dict[str, None] = {}
    while len(made) < count:
        letter = chr(65 + int(random.integers(26)))
        body = f"{random.integers(1, 3)}{random.integers(10**7):07d}"
        made[f"{letter}{body}{-national_checksum(letter, body + '0') % 10}"] = None
    return list(made)


def write_files(made: Lookups, people: People) -> None:
    """Write what police and telecom give to their feeds, and the insurer to its desk."""
    month = format_month(month_of(int(time.time())) - 2)
    rows = {
        "police": [
            *((person, "confirmed", "suspect") for person in people.red),
            *((person, "reported", "suspect") for person in people.yellow),
            *((person, "reported", "victim") for person in people.care),
            *((person, "confirmed", "suspect") for person in national_numbers(60, seed=12)),
        ],
        "telecom": [(person, "confirmed", "suspect") for person in people.red[:5]],
    }
    for name, reports in rows.items():
        lines = ["report_id,kind,value,category,status,slot,last"]
        lines += [
            f"{name}-{number},tw_national_id,{person},investment,{status},{slot},{month}"
            for number, (person, status, slot) in enumerate(reports)
        ]
        made.data(name, "reports.csv").write_text("\n".join(lines))
    customers = ["name,person", *(f"somebody,{person}" for person in people.all)]
    made.data("insurer", "customers.csv").write_text("\n".join(customers))
