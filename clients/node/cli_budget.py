"""`lianfang node budget`: what is spent and left by recipient, and what one run costs or cost."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compliance.commands.output import EXIT_REFUSED, Format, Formatted, say

if TYPE_CHECKING:
    from rich.text import Text

    from clients.node.budget import Budget, Standing
    from clients.node.costs import Cost

_WIDTH = 30
_PAGE = 140
# Told apart without colour as well: what is spent, held by open runs, taken by the run, free.
_MARKS = (("█", "red"), ("▓", "yellow"), ("▒", "cyan"), ("·", "dim"))


def budget(
    directory: Annotated[Path, typer.Argument(help="The node's directory.")],
    plan: Annotated[
        Path | None, typer.Option(help="Show what this proposed plan would cost; JSON.")
    ] = None,
    run: Annotated[
        str, typer.Option(help="Show what this run of the inbox would cost, or an ended one did.")
    ] = "",
    recipient: Annotated[
        str, typer.Option(help="This recipient alone; '*' for all of them together.")
    ] = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Show what was spent of the privacy budget and what is left; ends with 3 if a run is over.

    A run that has reserved here, or has ended, is told with what it cost.
    """
    from clients.node.budget import budget as look
    from clients.node.budget import read_plan
    from clients.node.costs import cost_of
    from compliance.clock import SystemClock

    cost = cost_of(directory, run) if run and plan is None else None
    asked = read_plan(directory, file=plan, run=run) if cost is None else None
    found = look(directory, now=SystemClock().now(), plan=asked, recipient=recipient, cost=cost)
    if output is Format.TEXT:
        _draw(found)
    say(output, found.fields(), _summary(found), _following(directory, found))
    if cost is None and not found.fits:
        raise typer.Exit(EXIT_REFUSED)


def _following(directory: Path, found: Budget) -> str:
    if found.cost is not None:
        return f"lianfang node sent {directory} {found.cost.run}"
    if found.plan is None:
        return f"lianfang node budget {directory} --run RUN"
    return f"lianfang node approve {directory} {found.plan.run}, or refuse with --reason"


def _draw(found: Budget) -> None:
    """Write the table with a bar for each recipient."""
    from rich.console import Console
    from rich.table import Table

    under = f"agreement {found.agreement} and policy" if found.agreement else "policy alone"
    table = Table(title=f"Privacy budget of {found.owner}, epsilon, by {under}")
    table.add_column("learns", no_wrap=True)
    table.add_column("█ spent ▓ held ▒ run · left", no_wrap=True)
    for name in ("spent", "held", "run", "left", "cap"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("set by", no_wrap=True)
    for item in found.shown:
        table.add_row(*_row(item))
    # Wide enough for all columns where nobody watches; a terminal has its own width.
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PAGE)
    console.print(table)


def _row(item: Standing) -> tuple[Text | str, ...]:
    name = "all together" if item.scope.recipient == "*" else item.scope.recipient
    taken = "" if item.after is None else f"{item.after - item.committed:.4f}"
    over = "" if item.fits else " OVER" if item.is_agreed else " NOT AGREED"
    return (
        name,
        _bar(item),
        f"{item.spent:.4f}",
        f"{item.reserved:.4f}",
        taken,
        f"{item.remaining:.4f}",
        f"{item.cap.epsilon:g}",
        f"{item.set_by}, delta {item.cap.delta:g}{over}",
    )


def _bar(item: Standing) -> Text:
    """Return the bar of one scope under the cap that counts."""
    from rich.text import Text

    ends = (item.spent, item.committed, item.taken)
    bar, drawn = Text(), 0
    for end, (mark, style) in zip(ends, _MARKS, strict=False):
        # Rounded upward, so that whatever was spent is seen.
        until = max(drawn, min(_WIDTH, math.ceil(_WIDTH * end / item.cap.epsilon)))
        bar.append(mark * (until - drawn), style)
        drawn = until
    return bar.append(_MARKS[-1][0] * (_WIDTH - drawn), _MARKS[-1][1])


def _summary(found: Budget) -> str:
    lines = [f"{name}: holds a reservation" for name in sorted(found.open_runs)]
    if not found.agreement:
        lines.append("No agreement is in force: no run can reserve anything.")
    if found.cost is not None:
        return "\n".join([_cost_text(found.cost), *lines])
    plan = found.plan
    if plan is None:
        return "\n".join(lines) or "No run holds a reservation."
    over = [item.scope.recipient for item in found.touched if not item.fits]
    lines += list(found.objections)
    lines += [f"over the cap for {'all recipients together' if n == '*' else n}" for n in over]
    answer = "fits" if found.fits else "DOES NOT FIT"
    return "\n".join(
        [f"Run {plan.run}, epsilon {plan.epsilon:g} at delta {plan.delta:g}: {answer}.", *lines]
    )


def _cost_text(cost: Cost) -> str:
    """Tell what a run has cost, when, and whether more may come."""
    at = f"epsilon {cost.epsilon:.4f} at delta {cost.delta:g}"
    most = "" if cost.most is None else f" of {cost.most:g} that its plan allows"
    if cost.reserved_at is None:
        return f"Run {cost.run} cost nothing here: it ended before anything was set aside."
    if cost.first_at is None or cost.last_at is None:
        paid = "No release was charged."
    else:
        paid = (
            f"Charged towards {', '.join(cost.recipients)}, releases: {cost.releases}, from "
            f"{_moment(cost.first_at)} to {_moment(cost.last_at)} UTC."
        )
    if cost.settled_at is None:
        return (
            f"Run {cost.run} has cost {at}{most} so far: {cost.state}, and holds the rest since "
            f"{_moment(cost.reserved_at)} UTC.\n{paid}"
        )
    return (
        f"Run {cost.run} cost {at}{most}: {cost.state} {_moment(cost.settled_at)} UTC, and the "
        f"rest is free again.\n{paid}"
    )


def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
