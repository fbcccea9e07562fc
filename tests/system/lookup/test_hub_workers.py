"""Two processes serve one hub from one PostgreSQL, and either may be killed under load.

`lianfang-hub serve` has the link and the API, `lianfang-hub serve-api` the API alone, out of a
directory of its own. Real clients ask both in turn. What must hold in the end: every request
is charged once and entered once, whoever answered it how often; one quota over both; what is
revoked at one is revoked at the other; the log verifies as a whole.

The tests are one story, in order, on one town.
"""

import json
import os
import random
import shutil
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import pytest

from clients.demo.bringing_up import ACTING, AGREEING
from clients.keys import credentials, load_keys
from clients.lookup.api import HubApi
from clients.lookup.https import Https, HubRefusedError
from clients.lookup.session import Lookup
from clients.lookup.trust import Trust
from clients.node.home import Home
from compliance.evaluations.book import EvaluationBook
from compliance.state.database import open_state
from protocols.group.select import load_group
from protocols.identifiers import IdentifierKind, canonicalize
from protocols.link import TransportError
from protocols.lookup.receipt import verify_receipt
from protocols.lookup.request import NO_CASE, Purpose, sign_request
from protocols.oprf import client
from protocols.oprf.suite import Suite
from protocols.oprf.threshold import Query
from protocols.tlog.entry import Entry, Outcome
from server.home import HubHome
from server.log.opening import open_log

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HOLDERS = ("police", "telecom")
BY_TWO = ("--as", ACTING, "--second", AGREEING)
QUOTA = 20_000
LOAD_S = 6.0
PATIENCE_S = 60.0
MOVED = ("partners", "issued", "agreements", "policies", "documents", "enrolment")


@dataclass
class Asked:
    """One request of the insurer's, which may be sent again and to anybody."""

    insurer: "Insurer"
    inputs: list
    blinds: list
    request_id: bytes
    outputs: list | None = None
    answers: int = 0

    @property
    def request(self):
        query = self._query()
        return sign_request(
            self.insurer.identity, hub=self.insurer.manifest.hub, asker="insurer",
            purpose=Purpose.SCREENING, case=NO_CASE, asked_at=int(time.time()),
            evaluation=query.request,
        )  # fmt: skip

    def send(self, port: int):
        """Send it to one worker; check receipt, proofs, and that every answer is the same."""
        query, request = self._query(), self.request
        with self.insurer.api(port) as api:
            reply = api.evaluate(request)
        verify_receipt(self.insurer.hub_identity, reply.receipt, request)
        for answer in reply.answers:
            query.receive(answer)
        outputs = query.finish()
        assert self.outputs in (None, outputs)
        self.outputs = outputs
        self.answers += 1
        return reply.receipt

    def _query(self):
        return Query(
            self.insurer.suite, self.insurer.manifest.record, self.inputs, self.blinds,
            self.request_id,
        )  # fmt: skip


class Insurer:
    """A partner's own program: it asks whichever worker, and asks again until it is answered."""

    def __init__(self, node, people) -> None:
        self.home = Home(node)
        with Lookup(self.home) as lookup:
            self.manifest = lookup.epoch().manifest
        self.hub_identity = Trust(self.home).hub_identity
        self.identity = load_keys(self.home.keys).identity
        self.suite = Suite(load_group())
        self.people = [canonicalize(IdentifierKind.TW_NATIONAL_ID, one) for one in people.all]
        self.asked: list[Asked] = []
        self.failures: Counter = Counter()

    def api(self, port: int) -> HubApi:
        return HubApi(f"127.0.0.1:{port}", credentials(self.home.keys), 15.0, pauses_s=())

    def ask(self, inputs) -> Asked:
        """Draw a request; it is sent by `Asked.send`."""
        blinds = client.random_blinds(self.suite, len(inputs), os.urandom)
        made = Asked(self, list(inputs), blinds, os.urandom(16))
        self.asked.append(made)
        return made

    def insist(self, asked: Asked, ports) -> None:
        """Send a request to the workers in turn until it is answered."""
        ends_at = time.monotonic() + PATIENCE_S
        while True:
            for port in ports:
                try:
                    asked.send(port)
                except (TransportError, HubRefusedError) as error:
                    self.failures[error.code] += 1
                    if time.monotonic() > ends_at:
                        raise
                    time.sleep(0.05)
                else:
                    return


@dataclass
class Workers:
    """A town whose hub is served by two processes on one PostgreSQL."""

    town: object
    address: str
    copy: object
    ports: tuple[int, int]
    processes: dict = field(default_factory=dict)

    def serve(self) -> None:
        self.processes["serve"] = self.town.serve()

    def serve_api(self) -> None:
        arguments = ("serve-api", str(self.copy), "--port", str(self.ports[1]))
        self.processes["serve-api"] = self.town.spawn(
            "ready, stop", "worker", "-m", "server.cli", *arguments
        )

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait(10)

    def book(self):
        """All that the hub has charged the insurer for."""
        with open_state(self.address) as database:
            book = EvaluationBook(partial(database.journal, "holder/book"))
            found = book.entries(1)
            book.close()
        return [entry for entry in found if entry.asker == "insurer"]

    def used(self) -> int:
        return sum(entry.count for entry in self.book())

    def entered(self) -> tuple[int, int]:
        """How many elements the log says were evaluated for the insurer, and in how many acts."""
        with open_log(HubHome(self.town.hub)) as log:
            origin = log.yearly.origin()
            size = log.storage.edge(origin).size
            entries = [Entry.decode(item) for item in log.storage.entries(origin, 0, size)]
        done = [
            entry.count
            for entry in entries
            if (entry.act, entry.organisation, entry.outcome)
            == ("evaluate", "insurer", Outcome.DONE)
        ]
        return len(done), sum(done)

    def load(self, insurer, meanwhile) -> None:
        """Ask both workers from four threads; `meanwhile` is done in the middle of it."""
        ends_at = time.monotonic() + LOAD_S
        errors: list[BaseException] = []

        def work(number: int) -> None:
            chance = random.Random(number)
            try:
                while time.monotonic() < ends_at:
                    asked = insurer.ask(chance.sample(insurer.people, chance.randrange(1, 4)))
                    ports = chance.sample(self.ports, 2)
                    insurer.insist(asked, ports)
            except BaseException as error:
                errors.append(error)
                raise

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(LOAD_S / 2)
        meanwhile()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
        assert not errors


def move(hub, address: str) -> None:
    """Make of a hub one that has had PostgreSQL from its beginning."""
    with open_state(hub / "state.sqlite") as old, open_state(address) as new, new.transaction():
        for folder in MOVED:
            for name, data in old.documents(folder).all().items():
                new.documents(folder).put(name, data)
    for path in hub.glob("state.sqlite*"):
        path.unlink()
    for folder in ("log", "log-second"):
        shutil.rmtree(hub / folder, ignore_errors=True)
    settings = json.loads((hub / "hub.json").read_text())
    (hub / "hub.json").write_text(json.dumps(settings | {"database": address}))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def workers(make_cold_town, postgres):
    town, address = make_cold_town("workers"), postgres()
    move(town.hub, address)
    settings = json.loads((town.hub / "hub.json").read_text())
    made = Workers(town, address, town.root / "copy", (settings["api_port"], free_port()))
    made.serve()
    for name in HOLDERS:
        town.hold(name)
    town.begin_epoch(quota=f"insurer={QUOTA}")
    for name in HOLDERS:
        town.publish(name)
    # A directory of its own: what the other process changes it has from the database alone.
    parts = ("tables", "runs", "flower", "staff", "locks")
    shutil.copytree(town.hub, made.copy, ignore=shutil.ignore_patterns(*parts))
    made.serve_api()
    yield made
    town.place.stop()


@pytest.fixture(scope="module")
def insurer(workers, people):
    return Insurer(workers.town.node("insurer"), people)


def test_the_other_worker_gives_the_same_answer_and_charges_nothing(workers, insurer):
    asked = insurer.ask(insurer.people[:3])
    first, second = (asked.send(port) for port in workers.ports)
    assert (first.used, second.used) == (3, 3)
    assert [entry.count for entry in workers.book()] == [3]
    assert workers.entered() == (1, 3)


def test_both_count_one_quota(workers, insurer):
    for port in (*workers.ports, *workers.ports):
        insurer.ask(insurer.people[:1]).send(port)
    for port in workers.ports:
        with insurer.api(port) as api:
            assert api.quota().used == workers.used() == 7


def test_desk_is_served_by_the_worker_alone(workers, people):
    """Tables that were published at one are fetched from the other, which has none of them."""
    node = workers.town.node("insurer")
    path = node / "node.json"
    config = json.loads(path.read_text())
    config["hub"]["api"] = f"127.0.0.1:{workers.ports[1]}"
    path.write_text(json.dumps(config))
    assert workers.town.check(people.red[0]).fields["light"] == "red"
    assert workers.town.check(people.green[0]).fields["light"] == "green"
    assert (workers.copy / "tables" / "1" / "police" / "1.table").exists()


def test_worker_that_is_killed_under_load_costs_nothing(workers, insurer):
    def kill_and_start():
        workers.kill("serve-api")
        workers.serve_api()

    workers.load(insurer, kill_and_start)
    settle(workers, insurer)


def test_process_of_the_link_that_is_killed_under_load_costs_nothing(workers, insurer):
    def kill_and_start():
        workers.kill("serve")
        workers.serve()

    workers.load(insurer, kill_and_start)
    settle(workers, insurer)


def settle(workers, insurer) -> None:
    """Send everything once more to both; compare answers, book and log."""
    for asked in random.Random(1).sample(insurer.asked, min(40, len(insurer.asked))):
        for port in workers.ports:
            insurer.insist(asked, [port])
    assert all(asked.answers for asked in insurer.asked)
    book = workers.book()
    charged = {entry.request_id: entry.count for entry in book}
    assert len(charged) == len(book)
    assert {one.request_id: len(one.inputs) for one in insurer.asked}.items() <= charged.items()
    assert workers.entered() == (len(book), workers.used())


def test_the_log_goes_on_when_the_one_that_publishes_dies(workers, insurer):
    workers.kill("serve")
    try:
        with pytest.raises(TransportError, match="too_few_holders"):
            insurer.ask(insurer.people[:1]).send(workers.ports[1])
        insurer.asked.pop()
        size = published(insurer, workers.ports[1])
        workers.town.until(lambda: published(insurer, workers.ports[1]) > size, 30)
    finally:
        workers.serve()


def published(insurer, port: int) -> int:
    """Up to which size a worker gives the log out."""
    https = Https(f"127.0.0.1:{port}", credentials(insurer.home.keys), 15.0, ())
    try:
        return json.loads(https.fetch("/v1/log", limit=1 << 20))["years"][-1]["size"]
    finally:
        https.close()


def test_the_last_of_the_quota_is_given_once(workers, insurer):
    insurer.insist(insurer.ask(insurer.people[:1]), workers.ports)
    left = QUOTA - workers.used() - 5
    many = [os.urandom(24) for _ in range(left)]
    for start in range(0, left, 5000):
        insurer.insist(insurer.ask(many[start : start + 5000]), workers.ports)
    rivals = [insurer.ask(insurer.people[n : n + 4]) for n in range(8)]
    refused: list[str] = []

    def send(asked, port):
        try:
            asked.send(port)
        except HubRefusedError as error:
            refused.append(error.code)

    threads = [
        threading.Thread(target=send, args=(asked, workers.ports[number % 2]))
        for number, asked in enumerate(rivals)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == ["quota_exhausted"] * 7
    assert workers.used() == QUOTA - 1
    insurer.asked = [asked for asked in insurer.asked if asked.answers]


def test_revoked_at_one_is_revoked_at_the_other(workers, insurer):
    words = ("insurer", "--reason", "key lost", *BY_TWO)
    workers.town.lianfang_hub("revoke", workers.town.hub, *words)
    for port in workers.ports:
        with insurer.api(port) as api, pytest.raises(HubRefusedError) as refused:
            api.quota()
        assert refused.value.code == "partner_revoked"


def entries_of(workers) -> int:
    with open_log(HubHome(workers.town.hub)) as log:
        return log.storage.edge(log.yearly.origin()).size


def test_the_log_of_both_verifies_as_a_whole(workers, insurer, tmp_path):
    town, out = workers.town, tmp_path / "log"
    book = workers.book()
    assert {one.request_id for one in insurer.asked} <= {entry.request_id for entry in book}
    assert workers.entered() == (len(book), workers.used())
    size = entries_of(workers)
    town.until(lambda: town.lianfang_hub("log", "export", town.hub, out).fields["size"] == size, 60)
    town.lianfang("audit", "verify", out, "--policy", out.with_name("log.policy"))
    logs = (town.root / "logs").glob("*.log")
    assert all("Traceback" not in log.read_text() for log in logs)
