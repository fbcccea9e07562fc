"""`lianfang-hub propose`: an operator's few choices become a plan that partners can look at.

What the operator leaves out is the usual value within what the agreement in force allows.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compliance.commands.acting import AsOption
from compliance.commands.output import Format, Formatted, say
from server.cli_status import presence_lines, presence_of

if TYPE_CHECKING:
    from protocols.vertical.plan import TrainingPlan


def propose(
    directory: Annotated[Path, typer.Argument(help="The hub's directory.")],
    run: Annotated[str, typer.Argument(help="A new name for the run.")],
    label_holder: Annotated[
        str, typer.Option(help="The partner that holds the label; others of its kind join it.")
    ],
    epsilon: Annotated[
        float | None, typer.Option(help="Privacy cost of the whole run; 1 if the agreement lets.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="Failure probability of the guarantee; 1e-5 otherwise.")
    ] = None,
    purpose: Annotated[
        str, typer.Option(help="IRI of the purpose; the agreement's otherwise.")
    ] = "",
    partners: Annotated[
        str, typer.Option(help="Comma-separated names; all with a contract that is agreed.")
    ] = "",
    steps: Annotated[int, typer.Option(help="Steps of the joint head.")] = 60,
    membership: Annotated[
        str, typer.Option(help="hidden or shared; hidden if the agreement lets.")
    ] = "",
    epoch: Annotated[
        int,
        typer.Option(
            help="Epoch whose oblivious function gives the pseudonyms: -1 takes the one in "
            "force if there is one and it is agreed, 0 the partners' keyed hash."
        ),
    ] = -1,
    on_refusal: Annotated[str, typer.Option(help="end or continue.")] = "end",
    held_out: Annotated[float, typer.Option(help="Share of people kept for validation.")] = 0.2,
    min_rows: Annotated[
        int | None,
        typer.Option(help="Fewest labelled rows to train on; 500, or more if it is agreed."),
    ] = None,
    deadline_s: Annotated[
        int, typer.Option(help="Seconds after which a silent phase has failed.")
    ] = 600,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="PARTNER=PATTERN[,PATTERN]: its columns that take part; all agreed otherwise."
        ),
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
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Propose a run; nothing starts and nobody is asked yet."""
    from server.acting import acting
    from server.home import HubHome
    from server.log.opening import open_log
    from server.lookups import epoch_in_force
    from server.training.agreed import OBLIVIOUS, Agreed
    from server.training.proposal import Choices, parse_columns, store_proposal

    home = HubHome(directory)
    experts = [name for name in neural.split(",") if name]
    with open_log(home) as log:
        agreed = Agreed.of(log.office.agreement())
        names = [name for name in partners.split(",") if name] or agreed.partners(home.partners())
        chosen = {name: home.partner(name) for name in names}
        if epoch == -1:
            epoch = epoch_in_force(home) if OBLIVIOUS in agreed.pseudonyms else 0
        choices = Choices(
            run=run,
            purpose=purpose or agreed.purpose,
            epsilon=agreed.epsilon if epsilon is None else epsilon,
            delta=agreed.delta if delta is None else delta,
            label_holder=label_holder,
            columns=agreed.narrowed(parse_columns(columns or []), chosen),
            epoch=epoch,
            membership=membership or agreed.membership,
            held_out_fraction=held_out,
            min_rows=agreed.min_rows if min_rows is None else min_rows,
            on_refusal=on_refusal,
            deadline_s=deadline_s,
            steps=steps,
            expected_rows=expected_rows,
            compute=agreed.compute,
            neural={name: neural_share / len(experts) for name in experts},
            roles=agreed.roles,
        )
        who = acting(home.root, log.office, name=by)

        def decide(plan: TrainingPlan) -> None:
            log.journal.run_proposed(plan, by=who.by)

        plan = store_proposal(home.root, choices, chosen, enter=decide)
    present = presence_of(home)
    shown = presence_lines(present, sorted(plan.names))
    say(
        output,
        {
            "run": run,
            "plan_hash": plan.digest.hex(),
            "plan": json.loads(plan.encode()),
            "presence": None if present is None else [asdict(found) for found in present],
        },
        f"Proposed {run}: {told(plan)}; "
        f"epsilon {plan.epsilon:g}, delta {plan.delta:g}, {steps} steps; pseudonyms "
        + (f"of epoch {plan.epoch}.\n" if plan.epoch else "by the partners' keyed hash.\n")
        + f"Plan hash {plan.digest.hex()}.\n"
        + "\n".join(shown),
        f"lianfang-hub run {directory} {run}",
    )


def told(plan: TrainingPlan) -> str:
    """Name the partners of a plan, those of one kind together."""
    return ", ".join(
        f"{kind.name} ({' and '.join(kind.names)})" if kind.is_shared else kind.first.name
        for kind in plan.kinds
    )
