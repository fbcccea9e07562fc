"""How the node's privacy budget stands, and what a run would take of it; writes nothing.

Caps are those under which runs reserve (`clients.node.spending.caps_of`): in each scope the
stricter of the agreement in force and the standing policy, epsilon and delta each. Where the
agreement gives a recipient no cap, or none is in force, nothing can be reserved, whatever the
policy says; what was spent is then shown at the policy's delta.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.audit.home import AuditHome
from clients.node.costs import Cost, accepted_plan
from clients.node.home import Home
from clients.node.spending import COHORT, caps_of, reading, scopes
from compliance.agreement.coverage import Run, ledger_caps
from compliance.agreement.document import Agreement
from compliance.configuration import ConfigError, read_object
from compliance.entries import EVERY_RECIPIENT, Scope
from compliance.errors import NotPermittedError
from compliance.ledger import Cap, Ledger
from protocols.codec import canonical_json
from protocols.vertical.budget import run_event
from protocols.vertical.plan import TrainingPlan

POLICY, AGREEMENT = "policy", "agreement"


@dataclass(frozen=True, slots=True)
class Standing:
    """One scope of the budget.

    Args:
        caps: of the policy, and of the agreement in force if it names one.
        cap: the stricter of them.
        spent: epsilon at the cap's delta; committed: with what open runs hold; after: with
            the previewed run as well, or None if that does not touch the scope.
        is_agreed: whether an agreement in force names a cap.
    """

    scope: Scope
    caps: Mapping[str, Cap]
    cap: Cap
    spent: float
    committed: float
    after: float | None
    is_agreed: bool

    @property
    def reserved(self) -> float:
        """By how much the open runs raise what is spent."""
        return self.committed - self.spent

    @property
    def taken(self) -> float:
        """What is spent and reserved, with the previewed run if there is one."""
        return self.committed if self.after is None else self.after

    @property
    def remaining(self) -> float:
        """How much epsilon is left under the cap; nothing where none is agreed."""
        return max(0.0, self.cap.epsilon - self.taken) if self.is_agreed else 0.0

    @property
    def fits(self) -> bool:
        """Whether the cap holds, with the previewed run if there is one."""
        return self.is_agreed and self.taken <= self.cap.epsilon

    @property
    def set_by(self) -> str:
        """Whose epsilon is the cap."""
        agreed = self.caps.get(AGREEMENT)
        is_agreed = agreed is not None and agreed.epsilon <= self.caps[POLICY].epsilon
        return AGREEMENT if is_agreed else POLICY

    def fields(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "cohort": self.scope.cohort,
            "dataset": self.scope.dataset,
            "recipient": self.scope.recipient,
            "agreed": self.is_agreed,
            "cap": self.cap.epsilon,
            "delta": self.cap.delta,
            "set_by": self.set_by,
            "caps": {
                name: {"epsilon": cap.epsilon, "delta": cap.delta}
                for name, cap in self.caps.items()
            },
            "spent": self.spent,
            "reserved": self.reserved,
            "after_run": self.after,
            "remaining": self.remaining,
            "fits": self.fits,
        }


@dataclass(frozen=True, slots=True)
class Budget:
    """All scopes of a node, and the run that was asked about.

    Args:
        open_runs: those that hold a reservation, with Unix seconds since when.
        objections: what else stands against the run, beside the caps of scopes.
        recipient: whom alone to show; empty for all.
        cost: what the run that was asked about has cost, where it has reserved or ended; there
            is no plan to be previewed then.
    """

    owner: str
    agreement: str
    standings: tuple[Standing, ...]
    open_runs: Mapping[str, int]
    plan: TrainingPlan | None = None
    objections: tuple[str, ...] = ()
    recipient: str = ""
    cost: Cost | None = None

    @property
    def shown(self) -> tuple[Standing, ...]:
        """The scopes that were asked for; whether a run fits is asked of all it touches."""
        return tuple(
            item for item in self.standings if self.recipient in ("", item.scope.recipient)
        )

    @property
    def fits(self) -> bool:
        """Whether everything is under its cap, and the run that was asked about would be."""
        return not self.objections and all(item.fits for item in self.touched)

    @property
    def touched(self) -> tuple[Standing, ...]:
        """The scopes that the run would be charged in; all of them without a run."""
        if self.plan is None:
            return tuple(item for item in self.standings if item.is_agreed)
        return tuple(item for item in self.standings if item.after is not None)

    def fields(self) -> dict[str, Any]:
        """Return the JSON object."""
        plan = self.plan
        return {
            "owner": self.owner,
            "agreement": self.agreement or None,
            "scopes": [item.fields() for item in self.shown],
            "open_runs": dict(self.open_runs),
            "run": None
            if plan is None
            else {
                "run": plan.run,
                "plan_hash": plan.digest.hex(),
                "epsilon": plan.epsilon,
                "delta": plan.delta,
                "objections": list(self.objections),
            },
            "cost": None if self.cost is None else self.cost.fields(),
            "fits": self.fits,
        }


def budget(
    directory: Path,
    *,
    now: int,
    plan: TrainingPlan | None = None,
    recipient: str = "",
    cost: Cost | None = None,
) -> Budget:
    """Return how every scope stands, and would stand after a run.

    Args:
        recipient: this one alone; `*` is all of them together.
        cost: of a run that came here, in place of a plan.

    Raises:
        ConfigError: the node's files are wrong.
        NotPermittedError: no cap is known for a recipient that was asked for.
        UnsupportedParameterError: the plan does not name this node.
    """
    home = Home(directory)
    agreement = _agreement_in_force(home, now)
    sides = _sides(home, agreement)
    if recipient and recipient not in {scope.recipient for scope in sides}:
        raise NotPermittedError(f"{recipient[:64]}: no cap is known for what it learns")
    caps = caps_of(home, agreement)
    # Priced under the policy's cap where there is no other; reserved there is nothing then.
    shown = {scope: caps.get(scope, side[POLICY]) for scope, side in sides.items()}
    after = _after(home, caps, plan)
    with reading(home, shown) as ledger:
        standings = tuple(
            Standing(
                scope,
                sides[scope],
                shown[scope],
                ledger.spent(scope),
                ledger.committed(scope),
                after.get(scope),
                scope in caps,
            )
            for scope in sorted(shown)
        )
        runs = {name: run.since for name, run in ledger.open_runs().items()}
        objections = () if plan is None else _objections(home, ledger, plan, agreement)
    name = "" if agreement is None else agreement.name
    return Budget(home.config().name, name, standings, runs, plan, objections, recipient, cost)


def read_plan(directory: Path, *, file: Path | None, run: str) -> TrainingPlan | None:
    """Read the plan of a file, of a run in the inbox or accepted here; None if none is named.

    Raises:
        ConfigError: there is none, or both are named.
        MalformedMessageError, UnsupportedParameterError: it is no plan.
    """
    if file is not None and run:
        raise ConfigError("--plan, --run: name one of the two")
    if file is not None:
        # Read and written again, so that a plan laid out for people is a plan too.
        return TrainingPlan.decode(_canonical(read_object(file)))
    if not run:
        return None
    home = Home(directory)
    accepted = accepted_plan(home, run)  # checks the name, which becomes a path
    path = home.root / "inbox" / f"{run}.json"
    if path.exists():
        return TrainingPlan.decode(_canonical(read_object(path).get("plan")))
    if accepted is None:
        raise ConfigError(
            f"run: {run} is not in the inbox, and was never accepted here; see "
            "`lianfang node inbox`"
        )
    return accepted


def _canonical(value: object) -> bytes:
    try:
        return canonical_json(value)
    except ValueError as error:
        raise ConfigError("plan: holds a number that is none; correct it") from error


def _agreement_in_force(home: Home, now: int) -> Agreement | None:
    if not (home.root / "agreements").is_dir():
        return None
    return AuditHome(home).agreements().in_force(now)


def _sides(home: Home, agreement: Agreement | None) -> dict[Scope, dict[str, Cap]]:
    """Return both sides' caps of every scope that is known here; the policy's is for all."""
    policy, config = home.policy(), home.config()
    agreed = {} if agreement is None else ledger_caps(agreement, cohort=COHORT, owner=config.name)
    names = {*config.peers, EVERY_RECIPIENT, *(scope.recipient for scope in agreed)}
    own = Cap(policy.cap_epsilon, policy.max_delta)
    scopes_here = (Scope(COHORT, config.name, name) for name in names - {config.name})
    return {
        scope: {POLICY: own} | ({AGREEMENT: agreed[scope]} if scope in agreed else {})
        for scope in scopes_here
    }


def _after(home: Home, caps: Mapping[Scope, Cap], plan: TrainingPlan | None) -> dict[Scope, float]:
    """Return what every scope that a run touches would stand at."""
    if plan is None:
        return {}
    with reading(home, caps) as ledger:
        forecasts = ledger.preview(scopes(home, plan), run_event(plan, home.config().name))
    return {forecast.scope: forecast.epsilon for forecast in forecasts}


def _objections(
    home: Home, ledger: Ledger, plan: TrainingPlan, agreement: Agreement | None
) -> tuple[str, ...]:
    """Say what stands against a run by itself, whatever was spent before."""
    found = []
    if plan.run in ledger.open_runs() or ledger.charges(plan.run):
        found.append(f"{plan.run} has reserved already: what it holds would count twice here")
    if agreement is not None and not (coverage := Run(plan).ask(agreement)).covered:
        found.append(f"the agreement, {coverage.rule}: {coverage.reason}")
    policy = home.policy()
    for name, asked, allowed in (
        ("epsilon", plan.epsilon, policy.max_epsilon),
        ("delta", plan.delta, policy.max_delta),
    ):
        # Asked this way round, a number that is none is refused.
        if not asked <= allowed:
            found.append(f"the policy: {name} {asked:g} is over {allowed:g} a run")
    return tuple(found)
