"""Kill -9 of the hub after each step of one request, and the same request again.

    decided    agreement and policies permit the request; nothing is written
    charged    the hub's book has it, durably
    entering   its entry is written and not committed
    entered    its entry is durable
    answered   the answer is made and not sent
    told       the asker has the answer

Whatever the step: after a restart the same bytes are answered, charged once in every book,
entered once in every log, and whoever was answered finds charge and entry on the disk of the
dead hub. A refused request is refused again, entered once and charged nowhere. What is lost
at most is an answer.

Every process is that of the commands; the hub kills itself at one exact place, as a power
cut would. Only the telecom's holder is up beside it, so that both answer every request.
"""

import os
import signal
import time

import pytest

from clients.keys import credentials, load_keys
from clients.lookup.api import REQUEST_TYPE, HubApi
from clients.lookup.https import Https, HubRefusedError
from clients.lookup.trust import Trust
from clients.node.home import Home
from compliance.log.sqlstore import SqlStorage
from protocols.group.select import load_group
from protocols.link import TransportError
from protocols.lookup.receipt import Reply, verify_receipt
from protocols.lookup.request import CASE_SIZE, NO_CASE, Purpose, sign_request
from protocols.oprf.client import random_blinds
from protocols.oprf.suite import Mode, Suite
from protocols.oprf.threshold import Query
from protocols.tlog.entry import Decision, Entry, Outcome, Verb

INPUTS = (b"one", b"two", b"three")
CASE = b"c" * CASE_SIZE
DECIDED = ("compliance.office.office:Office.decide", "after", 1)
CHARGED = ("compliance.evaluations.book:EvaluationBook.admit", "after", 1)
ENTERING = ("compliance.log.sqlstore:_SqlTurn.append", "after", 1)
ENTERED = ("compliance.log.yearly:YearlyLog.append", "after", 1)
ANSWERED = ("server.lookup.service:Evaluations.answer", "after", 1)

# Step -> where the hub dies (None: from outside, once the asker has the answer); elements
# charged at the dead hub, entries in its log.
PERMITTED = {
    "decided": (DECIDED, 0, 0),
    "charged": (CHARGED, 3, 0),
    "entering": (ENTERING, 3, 0),
    "entered": (ENTERED, 3, 1),
    "answered": (ANSWERED, 3, 1),
    "told": (None, 3, 1),
}
REFUSED = {
    "decided": (DECIDED, 0, 0),
    "entering": (ENTERING, 0, 0),
    "entered": (ENTERED, 0, 1),
    "told": (None, 0, 1),
}


class Asker:
    """The insurer, who can send the very same bytes again."""

    def __init__(self, town):
        home = Home(town.node("insurer"))
        self.identity = load_keys(home.keys).identity
        hub, trust = (home.config().api, credentials(home.keys)), Trust(home)
        with HubApi(*hub) as api:
            manifest = trust.manifest(api, int(time.time()))
        self.hub, self.record, self.hub_name = trust.hub_identity, manifest.record, manifest.hub
        self.https = Https(*hub, 30.0, ())
        self.suite = Suite(load_group(), Mode.VOPRF)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.https.close()

    def query(self):
        blinds = random_blinds(self.suite, len(INPUTS), os.urandom)
        return blinds, Query(self.suite, self.record, INPUTS, blinds, os.urandom(16))

    def sign(self, query, case):
        return sign_request(
            self.identity, hub=self.hub_name, asker="insurer", purpose=Purpose.COUNTER,
            case=case, asked_at=int(time.time()), evaluation=query.request,
        )  # fmt: skip

    def send(self, request):
        """Send the bytes once; a hub that dies meanwhile is a `TransportError`."""
        sent = {"Content-Type": REQUEST_TYPE, "Idempotency-Key": request.request_id.hex()}
        return Reply.decode(self.https.send("/v1/evaluations", request.encode(), sent, ()))

    def outputs(self, request, blinds, reply):
        """Check receipt and proofs, and return what the asker learns."""
        verify_receipt(self.hub, reply.receipt, request)
        query = Query(self.suite, self.record, INPUTS, blinds, request.request_id)
        for answer in reply.answers:
            query.receive(answer)
        return query.finish()


@pytest.fixture(scope="module")
def town(make_town):
    made = make_town("crashes", ("telecom",))
    yield made
    made.place.stop()


@pytest.fixture(scope="module")
def truth(town):
    """What the asker learns where nothing happens."""
    with Asker(town) as asker:
        blinds, query = asker.query()
        request = asker.sign(query, CASE)
        return asker.outputs(request, blinds, asker.send(request))


@pytest.fixture
def asker(town):
    with Asker(town) as made:
        yield made


def serve(town, place=None):
    """End the hub and the holder if they still run, and serve both anew."""
    for process in town.place.started:
        process.kill()
        process.wait()
    town.place.started.clear()
    hub = town.serve(*([] if place is None else [place]))
    # A holder that lost its hub comes back by itself, in half a minute; a new one at once.
    town.hold("telecom")
    return hub


def entries(root):
    """The requests that stand in an organisation's log, as they are on its disk."""
    storage = SqlStorage.open(f"sqlite:///{root}/log/log.sqlite")
    try:
        found = [
            Entry.decode(data)
            for origin in storage.origins()
            for data in storage.entries(origin, 0, storage.edge(origin).size)
        ]
    finally:
        storage.close()
    return [entry for entry in found if entry.verb is Verb.CONSULT]


def charged(town, holder, request):
    """What a holder's book has charged for a request."""
    book = town.book(holder)
    return sum(entry.count for entry in book if entry.request_id == request.request_id)


def kill_in(town, request, place):
    """Send a request to a hub that dies of it; return the answer, if there was one."""
    hub = serve(town, place)
    with Asker(town) as asker:
        try:
            if place is None:
                return asker.send(request)
            with pytest.raises(TransportError):
                asker.send(request)
        finally:
            if place is None:
                hub.kill()
            assert hub.wait(30) == -signal.SIGKILL
    return None


@pytest.mark.slow
@pytest.mark.parametrize("step", PERMITTED)
def test_request_is_answered_once_charged_and_entered_once(town, asker, truth, step):
    place, paid, entered = PERMITTED[step]
    blinds, query = asker.query()
    request = asker.sign(query, CASE)
    before = {name: len(entries(root)) for name, root in logs(town).items()}
    first = kill_in(town, request, place)
    # What the dead hub has on its disk: an answer only with its charge and its entry.
    assert charged(town, "hub", request) == paid
    assert len(entries(town.hub)) - before["hub"] == entered
    assert first is None or (paid, entered) == (len(INPUTS), 1)
    serve(town)
    replies = [reply for reply in (first, asker.send(request), asker.send(request)) if reply]
    for reply in replies:
        assert asker.outputs(request, blinds, reply) == truth
        assert reply.receipt.used == replies[0].receipt.used
    for name in ("hub", "telecom"):
        assert charged(town, name, request) == len(INPUTS), name
    for name, root in logs(town).items():
        (entry,) = entries(root)[before[name] :]
        # The hub enters who asked it, a holder that its own program used the key.
        by = "insurer" if name == "hub" else name
        assert (entry.organisation, entry.count) == (by, len(INPUTS)), name
        assert (entry.decision, entry.outcome) == (Decision.PERMIT, Outcome.DONE), name


@pytest.mark.slow
@pytest.mark.parametrize("step", REFUSED)
def test_refused_request_is_refused_again_and_entered_once(town, asker, step):
    place, _, entered = REFUSED[step]
    _, query = asker.query()
    request = asker.sign(query, NO_CASE)
    before = len(entries(town.hub))
    if place is None:
        with pytest.raises(HubRefusedError):
            kill_in(town, request, None)
    else:
        kill_in(town, request, place)
    assert len(entries(town.hub)) - before == entered
    serve(town)
    for _ in range(2):
        with pytest.raises(HubRefusedError) as caught:
            asker.send(request)
        assert caught.value.code == "not_permitted"
    (entry,) = entries(town.hub)[before:]
    assert (entry.decision, entry.outcome) == (Decision.DENY, Outcome.REFUSED)
    assert (entry.organisation, entry.count) == ("insurer", 0)
    assert [charged(town, name, request) for name in ("hub", "telecom")] == [0, 0]


def logs(town):
    """The directories whose logs have an entry of every answer."""
    return {"hub": town.hub, "telecom": town.node("telecom")}
