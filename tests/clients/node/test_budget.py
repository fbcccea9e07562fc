"""The node's budget as its operator sees it: the stricter cap counts, looking writes nothing."""

import json
import shutil
import time

import pytest
import typer
from typer.testing import CliRunner

from clients.node.budget import AGREEMENT, POLICY, budget, read_plan
from clients.node.cli_budget import budget as command
from clients.node.deciding import account
from clients.node.files import load_json, store_json
from clients.node.home import Home
from clients.node.spending import caps_of, open_ledger, reserve
from clients.output import explain
from compliance.agreement.terms import Caps
from compliance.errors import BudgetExhaustedError, NotPermittedError
from protocols.dp.events import Gaussian
from protocols.vertical.budget import head_noise_multiplier

NOW = int(time.time())
PARTIES = ("hub", "insurer", "police", "telecom")

app = typer.Typer()
app.command()(command)


def run(node, *arguments, code=0):
    """Run the command as `lianfang` does; returns what it wrote, or what it said of an error."""
    done = CliRunner().invoke(app, [str(node), *map(str, arguments)])
    ended = done.exit_code
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        ended = explain(done.exception)
    assert ended == code, done.output
    return done.stdout or str(done.exception)


def told(node, *arguments, code=0):
    return json.loads(run(node, *arguments, "--format", "json", code=code))


def by_recipient(value):
    return {row["recipient"]: row for row in value["scopes"]}


def pay(town, plan, steps):
    """Reserve a run at the telecom and pay so many of its steps."""
    home = Home(town.node("telecom"))
    reserve(home, plan, town.agreed.agreement)
    with open_ledger(home) as ledger:
        for step in range(steps):
            event = Gaussian(head_noise_multiplier(plan))
            ledger.charge(plan.run, f"train/step/{step}", event, NOW)


@pytest.fixture
def node(town):
    town.allow("telecom", cap_epsilon=2.0, max_epsilon=1.0, max_delta=1e-5)
    return town.node("telecom")


@pytest.fixture
def proposed(town, tmp_path):
    """Write a plan to a file as the hub's operator sends it."""

    def write(**changes):
        path = tmp_path / "plan.json"
        path.write_bytes(town.plan(**changes).encode())
        return path

    return write


@pytest.fixture
def cap(town):
    """Put an agreement in force with other caps."""

    def put(total=2.0, *, each=1.0, run=1.0, delta=1e-5, of=PARTIES):
        town.agree_otherwise(caps=Caps(run, dict.fromkeys(of, each), total, delta))

    return put


def test_fresh_node_has_everything_left_and_no_ledger_is_made(town, node):
    before = town.files("telecom")
    value = told(node)
    rows = by_recipient(value)
    assert set(rows) == {"*", "hub", "insurer", "police"}
    assert all(
        (row["spent"], row["reserved"], row["remaining"]) == (0, 0, 2.0) for row in rows.values()
    )
    assert (value["owner"], value["agreement"]) == ("telecom", "joint-defence")
    assert value["open_runs"] == {}
    assert town.files("telecom") == before


def test_spent_and_reserved_are_those_of_the_ledger(town, node):
    pay(town, town.plan(), 2)
    before = town.files("telecom")
    value = told(node)
    agreement = town.agreed.agreement
    with open_ledger(Home(node), agreement) as ledger:
        scopes = {scope.recipient: scope for scope in caps_of(Home(node), agreement)}
        for row in value["scopes"]:
            scope = scopes[row["recipient"]]
            assert row["spent"] == ledger.spent(scope)
            assert row["spent"] + row["reserved"] == pytest.approx(ledger.committed(scope))
            assert row["remaining"] == ledger.remaining(scope)
    rows = by_recipient(value)
    assert rows["hub"]["spent"] == 0 < rows["police"]["spent"] == rows["*"]["spent"]
    assert list(value["open_runs"]) == ["spring"]
    assert town.files("telecom") == before
    text = run(node)
    assert "█" in text
    assert "▓" in text
    assert "spring: holds a reservation" in text


def test_preview_of_a_file_shows_what_remains(town, node, proposed):
    pay(town, town.plan(), 5)
    before = town.files("telecom")
    value = told(node, "--plan", proposed(run="autumn"))
    rows = by_recipient(value)
    assert rows["hub"]["after_run"] is None  # it does not take part
    for name in ("*", "insurer", "police"):
        assert rows[name]["spent"] < rows[name]["after_run"]
        assert rows[name]["remaining"] == pytest.approx(2.0 - rows[name]["after_run"])
    assert (value["fits"], value["run"]["run"]) == (True, "autumn")
    assert "fits" in run(node, "--plan", proposed(run="autumn"))
    assert town.files("telecom") == before


def test_preview_says_no_exactly_where_the_ledger_does(town, node, proposed):
    for number in range(20):
        plan = town.plan(run=f"run-{number}")
        found = budget(node, now=NOW, plan=read_plan(node, file=proposed(run=plan.run), run=""))
        if not found.fits:
            break
        pay(town, plan, 5)
    assert number > 1
    with pytest.raises(BudgetExhaustedError, match="the cap is 2"):
        reserve(Home(node), plan, town.agreed.agreement)
    assert told(node, "--plan", proposed(run=plan.run), code=3)["fits"] is False
    text = run(node, "--plan", proposed(run=plan.run), code=3)
    assert "DOES NOT FIT" in text
    assert "over the cap for all recipients together" in text
    # What is shown alone changes nothing in the answer.
    assert told(node, "--plan", proposed(run=plan.run), "--recipient", "hub", code=3)["scopes"]


def test_preview_of_a_run_in_the_inbox(town, node):
    plan = town.plan(run="waiting")
    store_json(
        Home(node).inbox / "waiting.json",
        {"run": "waiting", "plan": json.loads(plan.encode()), "plan_hash": plan.digest.hex()},
    )
    assert told(node, "--run", "waiting")["run"]["plan_hash"] == plan.digest.hex()
    assert "not in the inbox" in run(node, "--run", "other", code=4)
    run(node, "--run", "../keys", code=4)


def accepted(node, plan):
    """Keep a plan as the node does that has accepted it, by its policy or by hand."""
    folder = Home(node).run(plan.run)
    folder.mkdir(parents=True)
    (folder / "plan.json").write_bytes(plan.encode())
    return folder


def test_accepted_run_that_has_not_reserved_is_previewed(town, node):
    accepted(node, town.plan())
    value = told(node, "--run", "spring")
    assert (value["fits"], value["cost"], value["run"]["objections"]) == (True, None, [])
    assert by_recipient(value)["police"]["after_run"] > 0


def test_ended_run_is_told_with_what_it_cost_and_when(town, node):
    plan = town.plan()
    accepted(node, plan)
    pay(town, plan, 2)
    going = told(node, "--run", "spring")["cost"]
    assert (going["state"], going["settled_at"]) == ("charged", None)
    with open_ledger(Home(node)) as ledger:
        ledger.close_run("spring", NOW + 60)
    before = town.files("telecom")
    value = told(node, "--run", "spring")
    cost = value["cost"]
    assert value["run"] is None
    assert cost == {
        "run": "spring", "state": "settled", "epsilon": cost["epsilon"], "delta": plan.delta,
        "plan_epsilon": plan.epsilon, "plan_hash": plan.digest.hex(),
        "recipients": ["insurer", "police"], "releases": 2, "reserved_at": going["reserved_at"],
        "first_charged_at": NOW, "last_charged_at": NOW, "settled_at": NOW + 60,
    }  # fmt: skip
    # One price, by what was paid: the same as `lianfang node sent` tells, and not the plan's.
    assert cost["epsilon"] == account(node, "spring")["epsilon"] == going["epsilon"]
    assert 0 < cost["epsilon"] < plan.epsilon
    assert all(row["after_run"] is None for row in value["scopes"])
    text = run(node, "--run", "spring")
    day = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(NOW + 60))
    assert f"Run spring cost epsilon {cost['epsilon']:.4f} at delta 1e-05" in text
    assert f"settled {day} UTC" in text
    assert text.splitlines()[-1].endswith(f"lianfang node sent {node} spring")
    assert town.files("telecom") == before


def test_cost_of_an_ended_run_is_told_though_a_cap_is_over(town, node, cap):
    plan = town.plan()
    accepted(node, plan)
    pay(town, plan, 5)
    cap(0.01, each=0.01, run=0.01)
    value = told(node, "--run", "spring")
    assert (value["fits"], value["cost"]["releases"]) == (False, 5)


def test_run_that_paid_nothing_says_so(town, node):
    pay(town, town.plan(), 0)
    value = told(node, "--run", "spring")["cost"]
    assert (value["state"], value["epsilon"], value["plan_hash"]) == ("reserved", 0.0, None)
    assert "No release was charged" in run(node, "--run", "spring")
    store_json(accepted(node, town.plan(run="early")) / "record.json", {})
    value = told(node, "--run", "early")["cost"]
    assert (value["state"], value["epsilon"], value["reserved_at"]) == ("settled", 0.0, None)
    assert "cost nothing here" in run(node, "--run", "early")


@pytest.mark.parametrize(("total", "strict"), [(1.5, AGREEMENT), (7.0, POLICY)])
def test_stricter_of_policy_and_agreement_counts(town, node, cap, total, strict):
    cap(total)
    pay(town, town.plan(), 5)
    rows = by_recipient(told(node))
    assert (rows["insurer"]["set_by"], rows["insurer"]["cap"]) == (AGREEMENT, 1.0)
    assert (rows["*"]["set_by"], rows["*"]["cap"]) == (strict, min(total, 2.0))
    assert {name: side["epsilon"] for name, side in rows["*"]["caps"].items()} == {
        AGREEMENT: total, POLICY: 2.0,
    }  # fmt: skip
    taken = rows["*"]["spent"] + rows["*"]["reserved"]
    assert rows["*"]["remaining"] == pytest.approx(min(total, 2.0) - taken)
    assert "agreement joint-defence and policy" in run(node)


def test_smaller_delta_makes_what_was_spent_cost_more(town, node, cap):
    cap(7.0, each=7.0)
    pay(town, town.plan(), 5)
    before = by_recipient(told(node))["*"]
    cap(7.0, each=7.0, delta=1e-9)
    after = by_recipient(told(node))["*"]
    assert (before["delta"], after["delta"]) == (1e-5, 1e-9)
    assert after["spent"] > before["spent"]


def test_recipient_without_an_agreed_cap_may_learn_nothing(town, node, cap):
    cap(of=("hub", "insurer", "telecom"))
    row = by_recipient(told(node))["police"]
    assert (row["agreed"], row["remaining"], row["fits"]) == (False, 0.0, False)
    assert "NOT AGREED" in run(node)
    with pytest.raises(NotPermittedError, match="police"):
        budget(node, now=NOW, plan=town.plan())


def test_without_an_agreement_nothing_can_be_reserved(town, node, proposed):
    pay(town, town.plan(), 5)
    spent = by_recipient(told(node))["*"]["spent"]
    shutil.rmtree(node / "agreements")
    value = told(node)
    row = by_recipient(value)["*"]
    assert (value["agreement"], row["remaining"], row["set_by"]) == (None, 0.0, POLICY)
    assert row["spent"] == spent  # it is told all the same
    assert "no run can reserve anything" in run(node)
    assert "names no cap" in run(node, "--plan", proposed(run="autumn"), code=3)


def test_unknown_recipient_is_refused(node):
    assert "no cap is known" in run(node, "--recipient", "bank", code=3)
    assert list(by_recipient(told(node, "--recipient", "*"))) == ["*"]


@pytest.mark.parametrize("value", ["NaN", "-1.0", "0.0", "Infinity", '"1"', "true"])
def test_number_that_is_none_is_refused(node, tmp_path, proposed, value):
    text = proposed(run="autumn").read_text()
    path = tmp_path / "wrong.json"
    path.write_text(text.replace('"epsilon":1.0', f'"epsilon":{value}'))
    assert value in path.read_text()
    run(node, "--plan", path, code=4)
    policy = (node / "policy.json").read_text()
    wrong = policy.replace('"cap_epsilon": 2.0', f'"cap_epsilon": {value}')
    assert wrong != policy
    (node / "policy.json").write_text(wrong)
    run(node, code=4)


def test_what_breaks_the_terms_of_one_run_is_told(town, node, proposed, cap):
    value = told(node, "--plan", proposed(run="big", epsilon=1.5), code=3)
    assert value["run"]["objections"] == ["the policy: epsilon 1.5 is over 1 a run"]
    cap(run=0.5, each=2.0)
    value = told(node, "--plan", proposed(run="big"), code=3)
    assert value["run"]["objections"] == ["the agreement, caps: epsilon 1 is over 0.5 a run"]
    cap(each=2.0)
    pay(town, town.plan(), 1)
    again = told(node, "--plan", proposed(), code=3)
    assert "has reserved already" in again["run"]["objections"][0]


def test_plan_of_others_and_two_plans_are_refused(town, node, proposed, tmp_path):
    run(node, "--plan", proposed(), "--run", "spring", code=4)
    run(node, "--plan", tmp_path / "none.json", code=4)
    (tmp_path / "no-plan.json").write_text("{}")
    run(node, "--plan", tmp_path / "no-plan.json", code=4)
    config = load_json(node / "node.json")
    store_json(node / "node.json", config | {"name": "bank"})
    shutil.rmtree(node / "agreements")
    assert "no partner named bank" in run(node, "--plan", proposed(), code=4)
