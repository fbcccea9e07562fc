"""Who cosigns is changed by two people, entered, and counts at once in the hub that publishes."""

import json
import os
import threading
import time
from hashlib import sha256
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from clients.node.home import Home
from clients.witness.keys import create_witness_keys
from clients.witness.pins import Pin, Pins
from clients.witness.service import open_witness, witness_folder
from compliance.commands.output import EXIT_CONFIG, EXIT_REFUSED
from compliance.office.about import About
from compliance.staff.staff import Staff
from protocols.link import TransportError
from protocols.tlog.entry import Entry, Outcome, Verb
from protocols.tlog.note import KeyKind, Signer
from server.cli_log import app
from server.home import HubHome, unix_now
from server.keeping.place import keeping_of
from server.log.opening import WITNESSES, open_log
from server.log.witnesses import Listed, Witnesses
from server.output import explain

WHY = ("--reason", "the partner was revoked")


@pytest.fixture
def home(tmp_path):
    made = HubHome(tmp_path / "hub")
    made.create(name="hub", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=unix_now())
    return made


def said(*words):
    done = CliRunner().invoke(app, ["witness", *map(str, words), "--format", "json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return explain(done.exception), str(done.exception)
    return done.exit_code, json.loads(done.stdout) if done.stdout else done.stderr


def listed(home):
    return Witnesses.load(home.root / "log" / "witnesses.json")


def key_of(name):
    return Signer.from_seed(f"{name}/witness", KeyKind.COSIGNATURE, os.urandom(32)).key


def list_witness(home, name, keys):
    """List a witness as if two people had decided it before."""
    path = home.root / "log" / WITNESSES
    before = Witnesses.load(path).listed if path.exists() else ()
    after = (*before, Listed(name, tuple(keys)))
    Witnesses(len(after) // 2 + 1, after).store(path)


def add(home, *names):
    for name in names:
        list_witness(home, name, [key_of(name)])


def last_entry(home):
    with open_log(home) as log:
        origin = log.yearly.origin()
        size = log.storage.edge(origin).size
        return Entry.decode(log.storage.entries(origin, size - 1, size)[0])


def test_witness_is_listed_by_two_people_and_entered(home, staffed):
    staffed(home.root)
    first, second = key_of("insurer"), key_of("police")
    assert said("add", home.root, "insurer", first.format(), *WHY)[1]["quorum"] == 1
    code, found = said("add", home.root, "police", second.format(), *WHY)
    assert (code, found["quorum"]) == (0, 2)
    assert [item.keys for item in listed(home).listed] == [(first,), (second,)]
    entry = last_entry(home)
    assert (entry.act, entry.outcome, entry.recipients) == (
        "set_policy", Outcome.DONE, ("police",),
    )  # fmt: skip
    assert entry.document == sha256((home.root / "log" / WITNESSES).read_bytes()).digest()


def test_two_changes_at_once_both_count(home, staffed):
    staffed(home.root)
    with keeping_of(home.root).locks.holding(WITNESSES):
        words = ("add", home.root, "telecom", key_of("telecom").format(), *WHY)
        adding = threading.Thread(target=said, args=words)
        adding.start()
        time.sleep(0.5)
        # What another process does that came first.
        list_witness(home, "police", (key_of("police"),))
    adding.join(30)
    assert [item.name for item in listed(home).listed] == ["police", "telecom"]


def test_witness_is_not_listed_without_people_or_a_reason(home, staffed, monkeypatch):
    words = ("add", home.root, "police", key_of("police").format())
    code, text = said(*words, *WHY)
    assert (code, "--as" in text) == (EXIT_REFUSED, True)
    staffed(home.root)
    assert said(*words)[0] == EXIT_REFUSED
    monkeypatch.delenv("LIANFANG_SECOND")
    assert said(*words, *WHY)[0] == EXIT_REFUSED
    assert last_entry(home).outcome is Outcome.REFUSED
    assert not (home.root / "log" / WITNESSES).exists()


def test_witness_is_listed_once_another_has_agreed_to_these_very_keys(home, staffed, monkeypatch):
    staffed(home.root)
    monkeypatch.delenv("LIANFANG_SECOND")
    key, other = key_of("police"), key_of("police")
    words = ("add", home.root, "police", key.format(), *WHY)
    code, text = said(*words)
    assert (code, "staff agree" in text) == (EXIT_REFUSED, True)
    staff = Staff(home.root)
    (request,) = staff.consents.open(unix_now())
    assert key.key_id.hex() in request.what
    staff.consents.agree(request.number, staff.find("eye"), now=unix_now())
    assert said("add", home.root, "police", other.format(), *WHY)[0] == EXIT_REFUSED
    assert said(*words)[0] == 0
    assert [item.keys for item in listed(home).listed] == [(key,)]


def test_witness_is_removed_by_two_people_and_entered(home, staffed):
    add(home, "insurer", "police", "telecom")
    staffed(home.root)
    code, found = said("remove", home.root, "police", *WHY)
    assert (code, found["quorum_before"], found["quorum"]) == (0, 2, 2)
    assert [item["name"] for item in found["witnesses"]] == ["insurer", "telecom"]
    assert [item.name for item in listed(home).listed] == ["insurer", "telecom"]
    entry = last_entry(home)
    assert (entry.act, entry.outcome, entry.recipients) == (
        "set_policy", Outcome.DONE, ("police",),
    )  # fmt: skip
    assert said("remove", home.root, "insurer", *WHY)[1]["quorum"] == 1


def test_witness_stays_without_people_or_a_reason(home, staffed, monkeypatch):
    add(home, "insurer", "police")
    assert said("remove", home.root, "police", *WHY)[0] == EXIT_REFUSED
    staffed(home.root)
    assert said("remove", home.root, "police")[0] == EXIT_REFUSED
    monkeypatch.delenv("LIANFANG_SECOND")
    assert said("remove", home.root, "police", *WHY)[0] == EXIT_REFUSED
    assert last_entry(home).outcome is Outcome.REFUSED
    assert len(listed(home).listed) == 2


@pytest.mark.parametrize(
    ("name", "more", "cure"),
    [
        ("telecom", (), "listed: insurer, police"),
        ("police", ("--quorum", "2"), "quorum must be 1 to 1"),
    ],
)
def test_what_cannot_be_removed_is_told_and_nothing_changes(home, staffed, name, more, cure):
    add(home, "insurer", "police")
    staffed(home.root)
    code, text = said("remove", home.root, name, *WHY, *more)
    assert code == EXIT_CONFIG
    assert cure in text
    assert len(listed(home).listed) == 2


def test_last_witness_stays(home, staffed):
    add(home, "insurer")
    staffed(home.root)
    code, text = said("remove", home.root, "insurer", *WHY)
    assert (code, "list another one first" in text) == (EXIT_CONFIG, True)
    assert [item.name for item in listed(home).listed] == ["insurer"]


class Links:
    """The standing links of partners with witnesses; who was revoked is cut off."""

    def __init__(self):
        self.witnesses, self.cut, self.asked = {}, set(), []

    def ask(self, holder, kind, body, timeout_s):
        self.asked.append(holder)
        if holder in self.cut:
            raise TransportError(f"{holder}: not connected", retryable=True, party=holder)
        return self.witnesses[holder].answer(body)


@pytest.fixture
def served(home, tmp_path, staffed):
    """A hub's log as the serving process has it, and the witnesses of three partners."""
    links = Links()
    staffed(home.root)
    with open_log(home, links=links) as log:
        keys = {}
        for name in ("insurer", "police", "telecom"):
            create_witness_keys(Home(tmp_path / name).keys, f"{name}/witness")
            Pins(witness_folder(tmp_path / name)).add(Pin(log.key, True, 3600, unix_now()))
            links.witnesses[name] = open_witness(tmp_path / name)
            keys[name] = links.witnesses[name].keys
        yield SimpleNamespace(log=log, links=links, keys=keys, home=home)
        for witness in links.witnesses.values():
            witness.stop()


def grown(served):
    """Enter something, and try to publish it; tells whether it is published."""
    with open_log(served.home) as other:
        decision = other.office.decide("refuse_run")
        other.office.enter(decision, About(Verb.ALTER, "runs"), Outcome.REFUSED)
    return served.log.publishing.publish()


def states(served):
    return {item.name: str(item.standing) for item in served.log.publishing.state().witnesses}


def test_running_hub_publishes_again_once_the_lost_witness_is_removed(served):
    for name in ("insurer", "police"):
        list_witness(served.home, name, served.keys[name])
    # The hub was started before anybody was listed.
    assert grown(served)
    assert states(served) == {"insurer": "cosigned", "police": "cosigned"}
    served.links.cut.add("police")
    assert not grown(served)
    assert served.log.publishing.state().unwitnessed_since is not None
    assert said("remove", served.home.root, "police", *WHY)[0] == 0
    served.links.asked.clear()
    assert served.log.publishing.publish()
    assert set(served.links.asked) == {"insurer"}
    assert states(served) == {"insurer": "cosigned"}
    state = served.log.publishing.state()
    assert (state.is_witnessed, state.text) == (True, "")
    assert served.log.witnesses.quorum == 1


def test_running_hub_asks_a_witness_that_is_listed_meanwhile(served):
    list_witness(served.home, "insurer", served.keys["insurer"])
    assert grown(served)
    served.links.cut.add("telecom")
    list_witness(served.home, "telecom", served.keys["telecom"])
    assert not grown(served)  # two of two
    served.links.cut.clear()
    assert served.log.publishing.publish()
    assert states(served) == {"insurer": "cosigned", "telecom": "cosigned"}


@pytest.mark.parametrize("damage", ["[]", None])
def test_damaged_or_lost_list_leaves_the_former_in_place(served, damage):
    list_witness(served.home, "insurer", served.keys["insurer"])
    assert grown(served)
    path = served.home.root / "log" / "witnesses.json"
    path.unlink() if damage is None else path.write_text(damage)
    served.links.cut.add("insurer")
    assert served.log.witnesses.quorum == 1
    decision = served.log.office.decide("refuse_run")
    served.log.office.enter(decision, About(Verb.ALTER, "runs"), Outcome.REFUSED)
    assert not served.log.publishing.publish()
