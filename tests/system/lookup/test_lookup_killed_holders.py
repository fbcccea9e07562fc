"""Kill -9 of the hub and of the other key holder in the middle of a screening.

They kill themselves at one exact place, or are killed from outside at moments drawn at
random. The desk goes on by itself if they are back soon, and is given its command again if
not; either way the result is the undisturbed one, and every customer was charged once in
every book. Only one holder beside the hub is up, so that both must answer every request.
"""

import random
import signal
import subprocess

import pytest

BOOK = "compliance.evaluations.book:EvaluationBook.admit"
HUB_PLACES = [
    (BOOK, "before", 3),
    (BOOK, "after", 4),
    ("server.lookup.service:Evaluations.answer", "after", 5),
]
HOLDER_PLACES = [
    (BOOK, "before", 3),
    (BOOK, "after", 4),
    ("compliance.evaluations.holder:KeyHolder.answer", "after", 5),
]


@pytest.fixture
def town(make_town):
    made = make_town("killed", ("telecom",))
    yield made
    made.place.stop()


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


def serve_again(town, place=None) -> subprocess.Popen:
    hub = town.serve(*([] if place is None else [place]))
    town.connected("telecom")
    return hub


@pytest.mark.slow
@pytest.mark.parametrize("place", HUB_PLACES, ids=str)
def test_killed_hub_is_asked_again(town, check_end, place):
    end(town.place.started[0])
    hub = serve_again(town, place)
    desk = town.screen()
    assert hub.wait(60) == -signal.SIGKILL
    serve_again(town)
    if desk.wait(60) != 0:
        town.screen_on()
    check_end(town)


@pytest.mark.slow
@pytest.mark.parametrize("place", HOLDER_PLACES, ids=str)
def test_killed_holder_is_asked_again(town, check_end, place):
    end(town.place.started[1])
    holder = town.hold("telecom", place)
    desk = town.screen()
    assert holder.wait(60) == -signal.SIGKILL
    town.hold("telecom")
    if desk.wait(60) != 0:
        town.screen_on()
    check_end(town)


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["hub", "telecom"])
def test_desk_gives_up_with_a_reason_and_resumes_later(town, check_end, lost):
    hub, holder = town.place.started
    desk = town.screen()
    await_charges(town, desk, 3)
    end(hub if lost == "hub" else holder)
    assert desk.wait(60) == 1
    reasons = {"hub": "cannot be reached", "telecom": "too_few_holders"}
    assert reasons[lost] in town.place.log("desk")
    assert not town.data("insurer", "lights.csv").exists()
    if lost == "hub":
        serve_again(town)
    else:
        town.hold("telecom")
    town.screen_on()
    check_end(town)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kills_at_any_moment_change_nothing(town, check_end, seed):
    draw = random.Random(seed)
    hub, holder = town.place.started
    for victim in draw.sample(["desk", "hub", "holder", "desk"], 4):
        desk = town.screen()
        await_charges(town, desk, draw.randrange(1, 5))
        end({"desk": desk, "hub": hub, "holder": holder}[victim])
        if victim == "hub":
            hub = serve_again(town)
        if victim == "holder":
            holder = town.hold("telecom")
        desk.wait(60)
    town.screen_on()
    check_end(town)


def await_charges(town, desk: subprocess.Popen, count: int) -> None:
    """Wait until the hub's book has grown by so many entries, or the desk has ended."""
    enough = len(town.book("hub")) + count
    town.until(lambda: len(town.book("hub")) >= enough or desk.poll() is not None, 60)
