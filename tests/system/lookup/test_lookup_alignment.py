"""Training runs whose pseudonyms come from the epoch's function instead of a keyed hash.

Direct mode, with the partners' key holders up beside their nodes: the hub that serves the run
serves lookups too.
"""

import numpy as np
import pytest

pytestmark = pytest.mark.slow

PARTNERS = ("insurer", "telecom", "police")
ENDED_WELL = dict.fromkeys(("hub", *PARTNERS), 0)
CHOICES = {"epsilon": 8.0, "steps": 8, "deadline_s": 90}


@pytest.fixture(scope="module")
def town(make_bare_town):
    """A town with an epoch, whose partners accept both sources of pseudonyms."""
    made = make_bare_town("alignment")
    made.begin_epoch(purposes="insurer=alignment,counter")
    made.place.stop()
    for name in PARTNERS:
        made.place.set_policy(name, max_epsilon=8.0, cap_epsilon=50.0)
    return made


def run(town, name: str, **options) -> dict[str, int]:
    """Propose a run and do it, with the key holders up; returns how every process ended."""
    town.place.propose(name, **(CHOICES | options))

    def hold(processes):
        # They dial the hub that has just been started for this run.
        for holder in ("police", "telecom"):
            arguments = ("-m", "clients.cli", "holder", "start", str(town.node(holder)))
            town.place.spawn(f"holder-{holder}", *arguments)

    return town.place.run_directly(name, meanwhile=hold, limit_s=120)


@pytest.fixture(scope="module")
def oblivious(town):
    """A run under the epoch, and what its partners had been charged when it ended."""
    ended = run(town, "oblivious", epoch=1)
    return ended, {name: town.used("hub", asker=name) for name in PARTNERS}


@pytest.fixture(scope="module")
def keyed(town, oblivious):
    return run(town, "keyed", epoch=0)


def places(town, name: str, owner: str) -> dict[str, int]:
    """Where each of a partner's people stands among all people of a run."""
    folder = town.place.node_run(owner, name)
    ids = town.place.frame(owner)["id"].to_list()
    taken, rows = np.load(folder / "taken.npy"), np.load(folder / "rows.npy")
    return {ids[at]: int(row) for at, row in zip(taken, rows, strict=True)}


def test_run_under_the_epoch_charges_every_person_once(town, oblivious):
    ended, used = oblivious
    assert ended == ENDED_WELL, town.place.log("hub")
    assert used == {"insurer": 900, "telecom": 720, "police": 450}
    assert sum(town.used("police", asker=name) for name in PARTNERS) + sum(
        town.used("telecom", asker=name) for name in PARTNERS
    ) == sum(used.values())


@pytest.mark.parametrize("name", ["oblivious", "keyed"])
def test_both_sources_bring_the_same_people_together(town, oblivious, keyed, name):
    assert keyed == ENDED_WELL, town.place.log("hub")
    found = {owner: places(town, name, owner) for owner in PARTNERS}
    assert [len(found[owner]) for owner in PARTNERS] == [900, 720, 450]
    everybody: dict[str, int] = {}
    for one in found.values():
        for person, row in one.items():
            assert everybody.setdefault(person, row) == row
    assert len(set(everybody.values())) == len(everybody) == 900


def test_both_sources_train_alike(town, oblivious, keyed):
    records = [town.place.record(name) for name in ("oblivious", "keyed")]
    assert records[0]["data"]["alignment"] == records[1]["data"]["alignment"]
    assert [record["plan"]["epoch"] for record in records] == [1, 0]
    areas = [record["metrics"]["head"]["auc"] for record in records]
    # The noise of two runs differs; a head that learned from wrongly joined rows would show.
    assert min(areas) > 0.6
    assert abs(areas[0] - areas[1]) < 0.15


def test_next_run_asks_for_nobody_again(town, keyed):
    before = town.used("hub")
    assert run(town, "again", epoch=1) == ENDED_WELL, town.place.log("hub")
    assert town.used("hub") == before == 900
    first, again = (places(town, name, "insurer") for name in ("oblivious", "again"))
    # The same outputs, under another run key: nobody stands in the same place.
    assert first.keys() == again.keys()
    assert sum(first[person] == again[person] for person in first) < 20


def test_policy_that_wants_the_function_refuses_a_keyed_plan(town, oblivious):
    town.place.set_policy("telecom", pseudonyms=["oblivious"])
    assert run(town, "refused", epoch=0)["hub"] == 1
    (trouble,) = town.place.state("refused")["trouble"]
    assert (trouble["party"], trouble["phase"]) == ("telecom", "plan")
    assert trouble["code"] == "pseudonyms"
    town.place.set_policy("telecom", pseudonyms=["oblivious", "keyed"])


def test_plan_of_no_epoch_in_force_is_refused_with_its_code(town, oblivious):
    before = town.used("hub")
    assert run(town, "nowhere", epoch=7)["hub"] == 1
    state = town.place.state("nowhere")
    assert {(t["phase"], t["code"]) for t in state["trouble"]} == {("align", "wrong_epoch")}
    assert town.used("hub") == before


def test_plan_of_a_new_epoch_is_followed_by_nodes_that_know_the_last_one(town, oblivious):
    town.start()
    assert town.begin_epoch(purposes="insurer=alignment,counter").fields["epoch"] == 2
    town.place.stop()
    assert run(town, "next", epoch=2) == ENDED_WELL, town.place.state("next")["trouble"]
    assert town.used("hub", epoch=2) == 900


def test_no_file_but_the_tables_names_a_person(town, oblivious, keyed):
    needles = set()
    for owner in PARTNERS:
        texts = [text for text in town.place.frame(owner)["id"].to_list() if text]
        needles |= {text.removeprefix("QX").removesuffix("KZ").encode() for text in texts}
        needles |= {bytes.fromhex(text[2:14]) for text in texts}
    files = [path for path in town.root.rglob("*") if path.is_file()]
    searched = [path for path in files if not path.is_relative_to(town.root / "data")]
    assert len(searched) > 100
    for path in searched:
        data = path.read_bytes().replace(b"\0", b"")
        assert not any(needle in data for needle in needles), path
