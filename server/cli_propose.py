"""`lianfang-hub propose`: an operator's few choices become a plan that partners can look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.output import Format, Formatted, say

if TYPE_CHECKING:
    from protocols.vertical.plan import TrainingPlan


def propose(
    directory: Annotated[Path, typer.Argument(help="The hub's directory.")],
    run: Annotated[str, typer.Argument(help="A new name for the run.")],
    label_holder: Annotated[str, typer.Option(help="The partner that holds the label.")],
    epsilon: Annotated[float, typer.Option(help="Privacy cost of the whole run.")] = 1.0,
    delta: Annotated[float, typer.Option(help="Failure probability of the guarantee.")] = 1e-5,
    purpose: Annotated[
        str, typer.Option(help="IRI of the purpose.")
    ] = "https://w3id.org/dpv#FraudPreventionAndDetection",
    partners: Annotated[
        str, typer.Option(help="Comma-separated names; all that joined by default.")
    ] = "",
    steps: Annotated[int, typer.Option(help="Steps of the joint head.")] = 60,
    membership: Annotated[str, typer.Option(help="hidden or shared.")] = "hidden",
    epoch: Annotated[
        int,
        typer.Option(
            help="Epoch whose oblivious function gives the pseudonyms: -1 takes the one in "
            "force if there is one, 0 the partners' keyed hash."
        ),
    ] = -1,
    on_refusal: Annotated[str, typer.Option(help="end or continue.")] = "end",
    held_out: Annotated[float, typer.Option(help="Share of people kept for validation.")] = 0.2,
    min_rows: Annotated[int, typer.Option(help="Fewest labelled rows to train on.")] = 500,
    deadline_s: Annotated[
        int, typer.Option(help="Seconds after which a silent phase has failed.")
    ] = 600,
    columns: Annotated[
        list[str] | None,
        typer.Option(help="PARTNER=PATTERN[,PATTERN]: its columns that take part; all otherwise."),
    ] = None,
    expected_rows: Annotated[
        int, typer.Option(help="Public estimate of the labelled rows; 0 where nobody can tell.")
    ] = 0,
    neural: Annotated[
        str, typer.Option(help="Comma-separated names of partners that train a neural expert.")
    ] = "",
    neural_share: Annotated[
        float, typer.Option(help="Share of epsilon for all neural experts together.")
    ] = 0.2,
    output: Formatted = Format.TEXT,
) -> None:
    """Propose a run; nothing starts and nobody is asked yet."""
    from server.home import HubHome
    from server.log.opening import open_log
    from server.lookups import epoch_in_force
    from server.training.proposal import Choices, parse_columns, store_proposal

    home = HubHome(directory)
    names = [name for name in partners.split(",") if name] or sorted(home.partners())
    experts = [name for name in neural.split(",") if name]
    choices = Choices(
        run=run,
        purpose=purpose,
        epsilon=epsilon,
        delta=delta,
        label_holder=label_holder,
        columns=parse_columns(columns or []),
        epoch=epoch_in_force(home) if epoch == -1 else epoch,
        membership=membership,
        held_out_fraction=held_out,
        min_rows=min_rows,
        on_refusal=on_refusal,
        deadline_s=deadline_s,
        steps=steps,
        expected_rows=expected_rows,
        neural={name: neural_share / len(experts) for name in experts},
    )
    chosen = {name: home.partner(name) for name in names}

    def enter(plan: TrainingPlan) -> None:
        with open_log(home) as log:
            log.journal.run_proposed(plan)

    plan = store_proposal(home.root, choices, chosen, enter=enter)
    say(
        output,
        {"run": run, "plan_hash": plan.digest.hex(), "plan": json.loads(plan.encode())},
        f"Proposed {run}: {', '.join(plan.names)}; "
        f"epsilon {epsilon:g}, delta {delta:g}, {steps} steps; pseudonyms "
        + (f"of epoch {plan.epoch}.\n" if plan.epoch else "by the partners' keyed hash.\n")
        + f"Plan hash {plan.digest.hex()}.",
        f"lianfang-hub run {directory} {run}",
    )
