"""The hub's part in a run: replies are read strictly, and a record is kept however it ends."""

import json
import os
import shutil
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from compliance.agreement.document import Agreement
from compliance.clock import FixedClock
from compliance.errors import NotPermittedError
from compliance.log.errors import StorageError
from compliance.log.memory import MemoryStorage
from compliance.log.second import FileCheckpoints
from compliance.office.keys import LogKeys
from compliance.office.opening import agreements_in, policies_in
from protocols.dp.events import Gaussian, event_fields
from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from protocols.tlog.entry import Entry
from protocols.vertical.contract import Contract
from server.log.opening import assemble
from server.training.conduct import Training
from server.training.plan import RunFolder
from server.training.proposal import store_proposal

NAMES = ("insurer", "police", "telecom")
PURPOSE = "https://w3id.org/dpv#FraudPreventionAndDetection"
NOW = 1_795_305_600


class Control:
    """Takes control requests as the hub process does; `fails` names actions that it cannot do."""

    def __init__(self, fails=()):
        self.asked, self.fails = [], fails

    def __call__(self, request):
        self.asked.append(request)
        if request["action"] in self.fails:
            raise TransportError("the relay is gone", retryable=False)
        return {"run": request["run"]}


@pytest.fixture
def agreed(tmp_path, partners, agree):
    """The agreement that the hub has."""
    keys = {name: Ed25519PrivateKey.generate() for name in ("hub", *partners)}
    for name, partner in partners.items():
        partner["identity"] = keys[name].public_key().public_bytes_raw().hex()
    contracts = {name: Contract.parse(item["contract"]) for name, item in partners.items()}
    return agree(keys, contracts=contracts).keep(tmp_path)


@pytest.fixture
def run(tmp_path, choices, partners, agreed):
    """A proposed run under the agreement."""
    store_proposal(tmp_path, choices(on_refusal="continue", purpose=PURPOSE), partners)
    return RunFolder(tmp_path, "spring")


def pinned(home):
    """The keys of the parties of the agreement that the hub has."""
    (path,) = home.glob("agreements/*.json")
    parties = Agreement.decode(path.read_bytes()).parties
    return {party.name: Ed25519PublicKey.from_public_bytes(party.identity) for party in parties}


def conduct(run, **changes):
    control = Control(**changes)
    home = run.path.parent.parent
    log = assemble(
        "lianfang/audit",
        MemoryStorage(),
        FileCheckpoints(home / "log-second"),
        LogKeys.draw(os.urandom),
        clock=FixedClock(NOW),
        folder=home,
        agreements=agreements_in(home, pinned(home)),
        policies=policies_in(home),
    )
    return Training(home, run.load_plan(), control, journal=log.journal), control


def entered(training):
    office = training._journal.office
    origin = office.yearly.origin()
    size = office.storage.edge(origin).size
    return [Entry.decode(data) for data in office.storage.entries(origin, 0, size)]


def record(run):
    return json.loads((run.path / "record.json").read_text())


def replies(**values):
    return dict.fromkeys(NAMES, json.dumps(values))


def through_align(training):
    training.before("plan", NAMES)
    training.after("plan", replies(announcement="00"))
    training.before("align", NAMES)
    training.after("align", replies(rows=5, total=8, dropped={}))


def test_everyone_is_asked_for_one_and_the_same_plan(run):
    training, control = conduct(run)
    bodies = training.before("plan", NAMES)
    assert len(set(bodies.values())) == 1
    assert control.asked[0]["parties"] == [*NAMES, "hub"]
    assert (
        json.loads(bodies["police"])["plan"].encode() == (run.path / "training.json").read_bytes()
    )


def test_plan_without_a_partner_is_another_plan(run):
    training, _ = conduct(run)
    first = training.before("plan", NAMES)["insurer"]
    second = training.before("plan", ("insurer", "telecom"))
    assert set(second) == {"insurer", "telecom"}
    assert second["insurer"] != first
    assert "police" not in json.loads(second["insurer"])["plan"]


def test_widths_and_counts_are_passed_on(run):
    training, _ = conduct(run)
    through_align(training)
    training.before("prepare", NAMES)
    training.after("prepare", replies(width=4, trained=90, positives=7))
    body = json.loads(training.before("train", NAMES)["police"])
    assert body == {
        "widths": {"police": 4, "telecom": 4},
        "counts": {"trained": 90, "positives": 7},
    }


@pytest.mark.parametrize(
    "wrong", [{}, {"width": "4"}, {"width": -1}, {"width": True}, {"width": 1.5}]
)
def test_reply_that_does_not_fit_is_refused_by_name(run, wrong):
    training, _ = conduct(run)
    through_align(training)
    bodies = replies(width=4, trained=90, positives=7) | {"telecom": json.dumps(wrong)}
    with pytest.raises(MalformedMessageError, match="reply of telecom: width"):
        training.after("prepare", bodies)


@pytest.mark.parametrize("body", ["", "[]", "7"])
@pytest.mark.parametrize("phase", ["plan", "align", "prepare", "validate", "finish"])
def test_reply_that_is_no_object_is_refused_by_name(run, phase, body):
    training, _ = conduct(run)
    with pytest.raises(MalformedMessageError, match="reply of police"):
        training.after(phase, replies(total=1) | {"police": body})


def test_partners_must_agree_about_the_joint_table(run):
    training, _ = conduct(run)
    through_align(training)
    training.after("align", replies(total=8) | {"police": '{"total": 9}'})
    with pytest.raises(MalformedMessageError, match="disagree about the joint table's size"):
        _ = training._rows


def test_partner_cannot_keep_the_record_from_being_written(run):
    training, _ = conduct(run)
    through_align(training)
    training.before("prepare", NAMES)
    training.before("finish", NAMES)
    bad = {"releases": [{"label": "a", "event": {"kind": "unheard"}}], "sent_bytes": {}}
    with pytest.raises(MalformedMessageError):
        training.after("finish", dict.fromkeys(NAMES, json.dumps(bad)))
    training.close("failed")
    assert record(run)["outcome"] == "failed"
    assert record(run)["privacy"]["unreported"] == list(NAMES)
    assert record(run)["privacy"]["epsilon_spent"] > 0.99


def test_run_refused_at_the_plan_has_cost_nothing(run):
    training, control = conduct(run)
    training.before("plan", NAMES)
    training.close("refused")
    assert record(run)["privacy"]["epsilon_spent"] == 0
    assert control.asked[-1]["action"] == "close_run"


def test_record_is_kept_even_if_the_relay_is_gone(run):
    training, _ = conduct(run, fails={"run_status"})
    training.before("plan", NAMES)
    with pytest.raises(TransportError):
        training.close("failed")
    assert record(run)["outcome"] == "failed"
    assert record(run)["bytes"]["relayed"] == {}


def test_run_stands_in_the_log_from_its_beginning_to_its_end(run):
    training, _ = conduct(run)
    through_align(training)
    training.before("prepare", NAMES)
    training.before("finish", NAMES)
    release = {"label": "train/0", "event": event_fields(Gaussian(4.0))}
    training.after("finish", replies(releases=[release], sent_bytes={}))
    training.close("done")
    found = entered(training)
    assert {(entry.act, entry.outcome) for entry in found} == {("compute", "done")}
    assert {entry.policies[0] for entry in found} == {"holders-and-computers"}
    assert len(found) == 5
    assert [entry.organisation for entry in found[1:4]] == list(NAMES)
    assert found[-1].document == sha256((run.path / "record.json").read_bytes()).digest()


def test_partner_that_leaves_at_the_plan_makes_another_beginning(run):
    training, _ = conduct(run)
    training.before("plan", NAMES)
    training.before("plan", NAMES[:1] + NAMES[2:])
    training.close("refused")
    found = entered(training)
    assert [entry.outcome for entry in found] == ["done", "done", "refused"]
    assert found[0].document != found[1].document


def test_plan_that_is_not_agreed_asks_nobody(run, agreed):
    training, control = conduct(run)
    revocation = agreed.revocation("police", now=NOW)
    training._journal.office.agreements.keep_revocation(revocation, now=NOW)
    with pytest.raises(NotPermittedError, match="no agreement is in force"):
        training.before("plan", NAMES)
    assert control.asked == []
    assert not (run.path / "training.json").exists()
    training.close("failed")
    begun, ended = entered(training)
    assert (begun.act, begun.outcome) == ("compute", "refused")
    assert ended.outcome == "failed"
    assert "run.not_permitted" in ended.policies
    assert record(run)["outcome"] == "failed"


def test_narrowed_plan_is_decided_anew(run, agreed, agree):
    training, control = conduct(run)
    training.before("plan", NAMES)
    # By what is agreed now, the hub may not compute in the place of the one that has left.
    shutil.rmtree(run.path.parent.parent / "agreements")
    narrow = agree(
        agreed.keys, contracts=agreed.agreement.contracts, compute=("insurer", "police", "telecom")
    )
    narrow.keep(run.path.parent.parent)
    asked = len(control.asked)
    with pytest.raises(NotPermittedError, match="hub may not compute"):
        training.before("plan", NAMES[:1] + NAMES[2:])
    assert len(control.asked) == asked
    training.close("failed")
    assert [entry.outcome for entry in entered(training)] == ["done", "refused", "failed"]


def test_end_is_entered_by_the_decision_of_the_beginning(run, agreed):
    training, _ = conduct(run)
    through_align(training)
    office = training._journal.office
    office.agreements.keep_revocation(agreed.revocation("police", now=NOW), now=NOW)
    training.close("done")
    assert [entry.outcome for entry in entered(training)] == ["done", "done"]


class Full:
    """A journal whose storage is full."""

    def run_started(self, plan):
        raise StorageError("log storage failed")

    def run_ended(self, plan, outcome, **fields):
        raise StorageError("log storage failed")


def test_run_without_a_beginning_in_the_log_asks_nobody(run):
    training, control = conduct(run)
    training._journal = Full()
    with pytest.raises(StorageError):
        training.before("plan", NAMES)
    assert control.asked == []


def test_run_without_an_end_in_the_log_has_no_record(run):
    training, _ = conduct(run)
    training.before("plan", NAMES)
    training._journal = Full()
    with pytest.raises(StorageError):
        training.close("done")
    assert not run.has_record()
