import pytest

from compliance.log.errors import StorageError
from protocols.errors import UnsupportedParameterError
from protocols.phase import PEER_LOST, done, failed, refused
from server.training.coordinator import ABANDONED, Coordinator, Failure, State
from server.training.plan import RunPlan

NODES = ("insurer", "telecom", "police")


class Grid:
    """Calls each node's handler directly: the wire without a wire."""

    def __init__(self, handlers):
        self.handlers = handlers
        self.asked = []

    def ask(self, phase, bodies, *, attempt, deadline_s):
        self.asked.append((phase, attempt, dict(bodies), deadline_s))
        return {name: self.handlers[name](phase, attempt, body) for name, body in bodies.items()}


class Relay:
    """The hub's part: hands every partner the names of those that answered before."""

    def __init__(self):
        self.seen = []
        self.outcome = None

    def before(self, phase, nodes):
        return {name: f"{phase} for {name} after {len(self.seen)}" for name in nodes}

    def after(self, phase, bodies):
        self.seen.append((phase, dict(bodies)))

    def close(self, outcome):
        self.outcome = outcome


def agree(phase, attempt, body):
    return done(f"{phase} done")


def run(plan, handlers, conduct=None):
    grid, conduct, states = Grid(handlers), conduct or Relay(), []
    coordinator = Coordinator(plan, grid, conduct, record=states.append, clock=lambda: 5)
    final = coordinator.run()
    assert states[-1] == final
    assert final.state is not State.RUNNING
    return final, grid, conduct, states


def plan(**changes):
    return RunPlan(**{"run": "r1", "kind": "check", "nodes": NODES} | changes)


def but(name, handler):
    return dict.fromkeys(NODES, agree) | {name: handler}


def test_every_phase_is_asked_in_order_of_everyone():
    final, grid, conduct, _ = run(plan(), dict.fromkeys(NODES, agree))
    phases = ["plan", "align", "prepare", "train", "validate", "score", "finish"]
    assert final.state is State.DONE
    assert [asked[0] for asked in grid.asked] == phases
    assert all(tuple(asked[2]) == NODES for asked in grid.asked)
    assert [phase for phase, _ in conduct.seen] == phases
    assert conduct.outcome == "done"


def test_hub_part_sets_the_bodies_and_gets_the_replies():
    _, grid, conduct, _ = run(plan(phases=("plan", "align")), dict.fromkeys(NODES, agree))
    assert grid.asked[1][2]["police"] == "align for police after 1"
    assert conduct.seen[0] == ("plan", dict.fromkeys(NODES, "plan done"))


def test_state_is_recorded_before_and_after_each_phase():
    _, _, _, states = run(plan(phases=("plan", "align")), dict.fromkeys(NODES, agree))
    seen = [(len(state.steps), state.steps[-1].ended if state.steps else None) for state in states]
    assert seen == [(0, None), (1, None), (1, 5), (2, None), (2, 5), (2, 5)]


def test_refused_plan_ends_the_run_with_the_reason():
    handlers = but("telecom", lambda *_: refused("not_agreed", "The agreement has lapsed."))
    final, grid, conduct, _ = run(plan(), handlers)
    assert final.state is State.REFUSED
    assert [asked[0] for asked in grid.asked] == ["plan", "finish", "finish"]
    (trouble,) = final.trouble
    assert (trouble.party, trouble.phase) == ("telecom", "plan")
    assert (trouble.code, trouble.reason) == ("not_agreed", "The agreement has lapsed.")
    assert conduct.outcome == "refused"


def test_run_goes_on_without_a_partner_that_refuses_the_plan():
    handlers = but("telecom", lambda *_: refused("not_agreed", "No."))
    final, grid, conduct, _ = run(plan(on_refusal="continue"), handlers)
    assert final.state is State.DONE
    assert final.nodes == ("insurer", "police")
    assert set(grid.asked[1][2]) == {"insurer", "police"}
    assert set(conduct.seen[0][1]) == {"insurer", "police"}
    assert final.trouble[0].party == "telecom"


def test_run_does_not_go_on_without_a_required_partner():
    handlers = but("insurer", lambda *_: refused("not_agreed", "No."))
    final, *_ = run(plan(on_refusal="continue", required=("insurer",)), handlers)
    assert final.state is State.REFUSED


def test_run_does_not_go_on_without_anybody():
    handlers = dict.fromkeys(NODES, lambda *_: refused("not_agreed", "No."))
    final, grid, *_ = run(plan(on_refusal="continue"), handlers)
    assert final.state is State.REFUSED
    assert len(final.trouble) == 3
    assert len(grid.asked) == 1


def test_refusal_after_the_plan_always_ends_the_run():
    def late(phase, attempt, body):
        return refused("changed_mind", "No.") if phase == "train" else done()

    final, *_ = run(plan(on_refusal="continue"), but("police", late))
    assert final.state is State.REFUSED
    assert final.trouble[0].phase == "train"


def test_failure_names_party_phase_and_reason():
    def broken(phase, attempt, body):
        return failed("budget_exhausted", "epsilon is spent") if phase == "train" else done()

    final, grid, conduct, _ = run(plan(), but("telecom", broken))
    assert final.state is State.FAILED
    (trouble,) = final.trouble
    assert (trouble.party, trouble.phase) == ("telecom", "train")
    assert (trouble.code, trouble.reason) == ("budget_exhausted", "epsilon is spent")
    phases = [asked[0] for asked in grid.asked]
    assert phases[:4] == ["plan", "align", "prepare", "train"]
    # What was begun is closed at each partner by itself; validate and score are not reached.
    assert phases[4:] == ["finish"] * 3
    assert {name for asked in grid.asked[4:] for name in asked[2]} == set(NODES)
    assert conduct.outcome == "failed"


def test_only_the_partner_at_fault_is_blamed():
    answers = {
        "insurer": lambda *_: failed("deadline", "took too long"),
        "telecom": lambda *_: Failure("silent", "no reply"),
        "police": lambda *_: Failure(ABANDONED, "not waited for"),
    }
    final, *_ = run(plan(), answers)
    assert [trouble.party for trouble in final.trouble] == ["telecom"]
    # What each of the others said is still in the step.
    assert final.steps[0].nodes["police"]["code"] == ABANDONED


def test_deadlines_of_all_are_named_if_nobody_else_is_at_fault():
    handlers = dict.fromkeys(NODES, lambda *_: failed("deadline", "took too long"))
    final, *_ = run(plan(), handlers)
    assert len(final.trouble) == 3


def test_failed_phase_is_asked_again_of_everyone():
    def weak(phase, attempt, body):
        return failed("interrupted", "died") if phase == "train" and attempt == 1 else done()

    final, grid, *_ = run(plan(attempts=2), but("telecom", weak))
    assert final.state is State.DONE
    assert final.trouble == ()
    trains = [asked for asked in grid.asked if asked[0] == "train"]
    assert [(asked[1], tuple(asked[2])) for asked in trains] == [(1, NODES), (2, NODES)]
    assert [(s.phase, s.attempt) for s in final.steps if s.phase == "train"] == [
        ("train", 1),
        ("train", 2),
    ]


def test_refusal_is_never_asked_again():
    handlers = but("telecom", lambda *_: refused("not_agreed", "No."))
    _, grid, *_ = run(plan(attempts=5), handlers)
    assert [asked[0] for asked in grid.asked].count("plan") == 1


@pytest.mark.parametrize("method", ["before", "after"])
def test_hubs_own_failure_ends_the_run_without_its_text(method):
    conduct = Relay()

    def boom(*_):
        raise ValueError("A123456789")

    setattr(conduct, method, boom)
    final, *_ = run(plan(), dict.fromkeys(NODES, agree), conduct)
    assert final.state is State.FAILED
    (trouble,) = final.trouble
    assert (trouble.party, trouble.phase, trouble.code) == ("hub", "plan", "internal_error")
    assert "A123456789" not in trouble.reason
    assert conduct.outcome == "failed"


def test_hub_says_why_when_the_reason_is_its_own():
    conduct = Relay()

    def unsupported(*_):
        raise UnsupportedParameterError("plan: width 9999, at most 4096")

    conduct.before = unsupported
    final, *_ = run(plan(), dict.fromkeys(NODES, agree), conduct)
    assert final.trouble[0].code == "unsupported_parameter"
    assert final.trouble[0].reason == "plan: width 9999, at most 4096"


def test_forgotten_body_fails_the_run_instead_of_hanging_it():
    conduct = Relay()
    conduct.before = lambda phase, nodes: {"insurer": "{}"}
    final, grid, *_ = run(plan(), dict.fromkeys(NODES, agree), conduct)
    assert final.state is State.FAILED
    assert final.trouble[0].party == "hub"
    assert grid.asked == []


def test_failing_clean_up_keeps_the_outcome():
    conduct = Relay()

    def boom(outcome):
        raise OSError

    conduct.close = boom
    final, *_ = run(plan(), dict.fromkeys(NODES, agree), conduct)
    assert final.state is State.DONE


def test_each_phase_has_its_own_deadline():
    _, grid, *_ = run(plan(deadlines_s={"train": 9}), dict.fromkeys(NODES, agree))
    assert {asked[0]: asked[3] for asked in grid.asked}["train"] == 9
    assert {asked[0]: asked[3] for asked in grid.asked}["plan"] == 600


def test_run_that_is_stopped_in_the_middle_says_so():
    def stop(*_):
        raise SystemExit(0)

    states, conduct = [], Relay()
    grid = Grid(but("telecom", stop))
    with pytest.raises(SystemExit):
        Coordinator(plan(), grid, conduct, record=states.append, clock=lambda: 5).run()
    assert states[-1].state is State.FAILED
    assert [(t.party, t.phase, t.code) for t in states[-1].trouble] == [("hub", "plan", "stopped")]
    assert conduct.outcome == "failed"


def test_partners_left_are_asked_for_the_changed_plan():
    def declines(phase, attempt, body):
        return refused("by_hand", "not this time")

    final, grid, _, _ = run(plan(on_refusal="continue"), but("telecom", declines))
    assert final.state is State.DONE
    asked = [(phase, attempt, tuple(bodies)) for phase, attempt, bodies, _ in grid.asked[:3]]
    assert asked == [
        ("plan", 1, NODES),
        ("plan", 2, ("insurer", "police")),
        ("align", 1, ("insurer", "police")),
    ]


def test_refused_plan_is_closed_where_it_was_accepted():
    def declines(phase, attempt, body):
        return refused("by_hand", "not this time")

    final, grid, _, _ = run(plan(), but("telecom", declines))
    assert final.state is State.REFUSED
    asked = [(phase, tuple(bodies)) for phase, _, bodies, _ in grid.asked]
    assert asked == [("plan", NODES), ("finish", ("insurer",)), ("finish", ("police",))]


def test_partner_that_lost_another_is_not_blamed():
    def loses(phase, attempt, body):
        return failed(PEER_LOST, "telecom broke off") if phase == "train" else done()

    def vanishes(phase, attempt, body):
        return Failure("silent", "no reply") if phase == "train" else done()

    handlers = dict.fromkeys(NODES, loses) | {"telecom": vanishes}
    final, *_ = run(plan(), handlers)
    assert [(trouble.party, trouble.phase) for trouble in final.trouble] == [("telecom", "train")]


class Unkept(Relay):
    """A hub whose log does not take the end of the run."""

    def close(self, outcome):
        raise StorageError("log storage failed")


def test_run_whose_end_the_log_does_not_take_has_failed():
    final, _, _, _ = run(plan(phases=("plan",)), dict.fromkeys(NODES, agree), Unkept())
    assert final.state is State.FAILED
    (trouble,) = final.trouble
    assert (trouble.party, trouble.code) == ("hub", "storage_failed")
