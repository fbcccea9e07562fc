"""Three partners' witnesses with quorum two: growth, absence, rollback, forks, bad answers."""

import threading
import time

import pytest

from clients.witness.alarms import RACE_S
from compliance.log.alarms import AlarmKind
from compliance.log.errors import NotWitnessedError
from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from protocols.standing import Answer, Greeting, Refusal, decode_frame
from protocols.tlog.asking import WitnessAnswer
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import sign_checkpoint
from protocols.tlog.note import KeyKind, Note, Signer
from protocols.tlog.witness import SIZE_TYPE, TEXT_TYPE, AddCheckpoint
from server.log.witnessing import AskedWitness, Witnessing
from server.standing.registry import Standing as StandingLinks

ALL = {"insurer": "cosigned", "police": "cosigned", "telecom": "cosigned"}


def size_of(note):
    return Checkpoint.parse(note.text).size


def alarms_of(hub):
    return sorted((item.alarm.kind, item.alarm.witness) for item in hub.alarms.open())


def held(town):
    return {
        name: witness.store.latest(town.signer.name).checkpoint.size
        for name, witness in town.witnesses.items()
        if witness.store.latest(town.signer.name)
    }


def test_growing_log_is_cosigned_by_all(hub, town):
    for count in (1, 4, 300, 0):
        hub.append(count)
        note = hub.log.checkpoint()
        assert size_of(note) == hub.log.size
    # Two lines of each witness: Ed25519 and ML-DSA-44.
    assert len(note.signatures) == 1 + 2 * 3
    assert len(town.policy.verify(note).times) == 6
    assert hub.states() == ALL
    assert alarms_of(hub) == []


def test_one_witness_away_delays_nothing_and_catches_up(hub, town, links):
    hub.append(3)
    hub.log.checkpoint()
    links.cut = {"police"}
    for _ in range(3):
        hub.append(5)
        began = time.monotonic()
        assert size_of(hub.log.checkpoint()) == hub.log.size
        assert time.monotonic() - began < 2
    assert hub.states() == ALL | {"police": "away"}
    assert held(town) == {"insurer": 18, "police": 3, "telecom": 18}
    links.cut = set()
    hub.append(1)
    assert len(hub.log.checkpoint().signatures) == 7
    assert hub.states() == ALL


def test_without_quorum_nothing_is_published_and_appends_go_on(hub, links):
    hub.append(3)
    published = hub.log.checkpoint()
    links.cut = {"police", "telecom"}
    hub.append(4)
    for _ in range(2):
        with pytest.raises(NotWitnessedError):
            hub.log.checkpoint()
    assert Note.decode(hub.storage.checkpoint(hub.log.origin)) == published
    hub.append(4)
    assert hub.log.size == 11
    links.cut = {"police"}
    assert size_of(hub.log.checkpoint()) == 11


def test_hanging_witness_holds_up_neither_appends_nor_the_others(make_hub, links):
    hub = make_hub(timeout_s=20.0, grace_s=0.2)
    hub.append(3)
    hub.log.checkpoint()
    released = links.hold("telecom")
    hub.append(1)
    began = time.monotonic()
    publishing = threading.Thread(target=hub.log.checkpoint)
    publishing.start()
    while "telecom" not in links.asked[3:]:
        time.sleep(0.01)
    appended = time.monotonic()
    hub.append(20)
    assert time.monotonic() - appended < 1
    publishing.join()
    # It hangs still; asked again it is left out at once, and takes no second thread.
    for _ in range(4):
        hub.append(1)
        assert size_of(hub.log.checkpoint()) == hub.log.size
    assert time.monotonic() - began < 5
    released.set()
    hub.append(1)
    while hub.states() != ALL:
        hub.append(1)
        assert size_of(hub.log.checkpoint()) == hub.log.size
        assert time.monotonic() - began < 15


def test_killed_answer_is_asked_for_again(make_hub, town, links):
    """The witness stored and cosigned, and its answer never came."""

    class Lossy:
        def ask(self, holder, kind, body, timeout_s):
            links.ask(holder, kind, body, timeout_s)
            raise TransportError("broke off", retryable=True)

    lossy = make_hub("hub", through=Lossy())
    lossy.append(5)
    with pytest.raises(NotWitnessedError):
        lossy.log.checkpoint()
    assert set(held(town).values()) == {5}
    lossy.witnessing._witnesses = make_hub("other").witnessing._witnesses
    assert size_of(lossy.log.checkpoint()) == 5
    assert lossy.states() == ALL


def test_log_put_back_is_refused_by_witnesses_that_are_ahead(hub, make_hub, town):
    hub.append(20)
    hub.log.checkpoint()
    town.clock.advance(RACE_S + 1)
    # The same log with storage and second place put back to an earlier copy.
    back = make_hub("back")
    back.append(12)
    with pytest.raises(NotWitnessedError):
        back.log.checkpoint()
    assert set(back.states().values()) == {"doubts"}
    kinds = {kind for kind, _ in alarms_of(back)}
    assert (kinds, len(alarms_of(back))) == ({AlarmKind.ROLLBACK}, 3)
    assert set(held(town).values()) == {20}
    for witness in town.witnesses.values():
        assert [item.alarm.kind for item in witness.alarms.open()] == [AlarmKind.ROLLBACK]


def test_rewritten_tail_is_refused_even_when_it_has_grown_past(hub, make_hub, town):
    hub.append(20)
    hub.log.checkpoint()
    liar = make_hub("liar", branch="branch")
    liar.append(15, branch="trunk")
    liar.append(15)
    with pytest.raises(NotWitnessedError):
        liar.log.checkpoint()
    assert set(liar.states().values()) == {"doubts"}
    (raised, *_) = liar.alarms.open()
    assert raised.alarm.kind is AlarmKind.INCONSISTENT
    assert {name.rpartition(".")[2] for name in raised.evidence} == {"request", "answer"}
    for witness in town.witnesses.values():
        assert [item.alarm.kind for item in witness.alarms.open()] == [AlarmKind.INCONSISTENT]
    hub.append(1)
    assert size_of(hub.log.checkpoint()) == 21


def test_split_view_gets_no_second_quorum_and_is_caught(make_hub, town, links):
    """A hub shows two histories: insurer and police see one, telecom the other."""
    left, right = make_hub("left"), make_hub("right", branch="branch")
    for hub, cut in ((left, {"telecom"}), (right, {"insurer", "police"})):
        links.cut = cut
        hub.append(9)
        if hub is left:
            assert size_of(hub.log.checkpoint()) == 9
        else:
            with pytest.raises(NotWitnessedError):
                hub.log.checkpoint()
    links.cut = set()
    # Each side is refused by who saw the other one, at the same size and later on.
    with pytest.raises(NotWitnessedError):
        right.log.checkpoint()
    left.append(3)
    assert size_of(left.log.checkpoint()) == 12
    assert left.states() == {"insurer": "cosigned", "police": "cosigned", "telecom": "doubts"}
    assert alarms_of(left) == [(AlarmKind.INCONSISTENT, "telecom")]
    assert alarms_of(right) == [
        (AlarmKind.INCONSISTENT, "insurer"),
        (AlarmKind.INCONSISTENT, "police"),
    ]
    kinds = {
        name: {item.alarm.kind for item in witness.alarms.open()}
        for name, witness in town.witnesses.items()
    }
    assert kinds == {
        "insurer": {AlarmKind.FORK},
        "police": {AlarmKind.FORK},
        "telecom": {AlarmKind.INCONSISTENT},
    }


def test_checkpoint_that_another_process_overtook_is_no_rollback(hub, town):
    hub.append(5)
    early = hub.log._sign()[0]
    hub.append(5)
    hub.log.checkpoint()
    assert hub.witnessing.cosign(early, lambda old: []) == []
    assert set(hub.states().values()) == {"overtaken"}
    assert alarms_of(hub) == []


class OneAnswer:
    """A witness that answers as it was told, whatever it is asked."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def ask(self, request, timeout_s):
        self.asked.append(AddCheckpoint.decode(request))
        answer = self.answer(self.asked[-1]) if callable(self.answer) else self.answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        pass


STRANGER = Signer.from_seed("police/witness", KeyKind.COSIGNATURE, b"x" * 32)


def by_stranger(request):
    line = sign_checkpoint(request.checkpoint, STRANGER, 5)
    return WitnessAnswer(200, TEXT_TYPE, line.format().encode())


def ever_larger(request):
    return WitnessAnswer(409, SIZE_TYPE, b"%d\n" % ((request.old_size + 1) % 5))


@pytest.mark.parametrize(
    ("answer", "standing", "alarm"),
    [
        (by_stranger, "refused", None),
        (WitnessAnswer(200, TEXT_TYPE, b""), "refused", None),
        (WitnessAnswer(200, TEXT_TYPE, b"\xff\n"), "refused", None),
        (WitnessAnswer(201, TEXT_TYPE, b""), "refused", None),
        (WitnessAnswer(302, TEXT_TYPE, b""), "refused", None),
        (WitnessAnswer(400, TEXT_TYPE, b"malformed\n"), "refused", None),
        (WitnessAnswer(403, TEXT_TYPE, b""), "refused", None),
        (WitnessAnswer(404, TEXT_TYPE, b"unknown_log\n"), "refused", None),
        (WitnessAnswer(500, TEXT_TYPE, b""), "refused", None),
        (WitnessAnswer(503, TEXT_TYPE, b"unavailable\n"), "refused", None),
        (WitnessAnswer(409, SIZE_TYPE, b"0\n"), "refused", None),
        (WitnessAnswer(409, SIZE_TYPE, b"x\n"), "refused", None),
        (ever_larger, "refused", None),
        (WitnessAnswer(409, SIZE_TYPE, b"900\n"), "doubts", AlarmKind.ROLLBACK),
        (WitnessAnswer(409, TEXT_TYPE, b""), "doubts", AlarmKind.INCONSISTENT),
        (WitnessAnswer(422, TEXT_TYPE, b""), "doubts", AlarmKind.INCONSISTENT),
        (TransportError("gone", retryable=True), "away", None),
        (MalformedMessageError("no answer"), "refused", None),
        (ConnectionError("gone"), "refused", None),
    ],
)
def test_anything_but_a_good_signature_is_not_cosigned(hub, town, answer, standing, alarm):
    hub.append(7)
    note = hub.log.checkpoint()
    keys = tuple(town.witnesses["police"].keys)
    asked = Witnessing(
        [AskedWitness("police", keys, OneAnswer(answer))],
        policy_of=lambda _: town.policy,
        alarms=hub.alarms,
        size_of=lambda origin: 7,
        clock=town.clock,
    )
    for _ in range(2):
        assert asked.cosign(note, lambda old: [bytes(32)]) == []
    (state,) = asked.states()
    assert str(state.standing) == standing
    assert state.text
    assert alarms_of(hub) == ([] if alarm is None else [(alarm, "police")])
    asked.close()


def test_doubts_are_settled_by_a_later_cosignature(hub, town, links):
    hub.append(7)
    real, broken = links.witnesses["police"], OneAnswer(WitnessAnswer(422, TEXT_TYPE, b""))
    witness = hub.witnessing._witnesses[1]
    assert witness.name == "police"
    hub.witnessing._witnesses = tuple(
        AskedWitness(item.name, item.keys, broken if item is witness else item.place)
        for item in hub.witnessing._witnesses
    )
    hub.log.checkpoint()
    assert alarms_of(hub) == [(AlarmKind.INCONSISTENT, "police")]
    assert hub.witnessing.alarms_open() == 1
    broken.answer = lambda request: WitnessAnswer.decode(real.answer(request.encode()))
    hub.append(1)
    hub.log.checkpoint()
    assert alarms_of(hub) == []
    assert hub.alarms.all()[0].reason == "cosigned size 8"


def test_witness_is_asked_over_a_real_standing_link(make_hub, town):
    """Frames and all: the hub's registry on one side, a node's answers on the other."""
    standing = StandingLinks()
    hub = make_hub(through=standing, timeout_s=5.0, grace_s=5.0)
    threads = []
    for name in town.witnesses:
        stream = standing.join(name)

        def node(stream=stream, name=name):
            while (data := stream.next_frame()) is not None:
                frame = decode_frame(data)
                if isinstance(frame, Greeting):
                    continue
                if name == "telecom":  # an older node, which knows no such question
                    reply = Refusal(frame.number, "unknown_question", "answers no such kind")
                else:
                    reply = Answer(frame.number, town.witnesses[name].answer(frame.body))
                stream.accept(reply.encode())

        threads.append(threading.Thread(target=node))
        threads[-1].start()
    hub.append(5)
    assert len(hub.log.checkpoint().signatures) == 5
    assert hub.states() == ALL | {"telecom": "away"}
    (state,) = [item for item in hub.witnessing.states() if item.name == "telecom"]
    assert "unknown_question" in state.text
    standing.close()
    for thread in threads:
        thread.join()
