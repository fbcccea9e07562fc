"""The demonstration: a hub and three partners with real certificates and real Flower processes.

Every step is done by the commands that operators use; only the town's people are made up.
Everything stays in one directory, laid out as in production.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from clients.bench.dataset import HELD_OUT, load_dataset, split_rows
from clients.demo.agreeing import agree_all
from clients.demo.bringing_up import MARK, Bringing, Town, join_partners, make_hub, run_command
from clients.demo.comparison import Comparison, compare, draw_table
from clients.demo.evidence import draw_evidence, list_witnesses, take_evidence
from clients.demo.lookups import Lookups, begin_epoch, draw_lookups, largest_table, look_up
from clients.demo.processes import start_town
from clients.demo.town import write_town
from clients.node.files import load_json
from clients.output import CommandError
from compliance.agreement.drafting import DEFAULT_QUOTA

LABEL_HOLDER = "insurer"
# Of the telecom's 1,400 columns the agreement names those that the police's patterns point
# to: what is not needed for the purpose takes no part, and does not dilute what is.
AGREED_COLUMNS = (
    "telecom=overseas_*,first_contact_*,unknown_caller_*,new_app_*,remote_control_*,"
    "hidden_number_*,call_centre_*,call_forward_days,longest_first_contact_minutes,"
    "spam_reports,blocked_calls"
)


def run_demo(
    directory: Path, *, data: Path | None, people: int, seed: int, epsilon: float, quiet: bool
) -> dict[str, Any]:
    """Run the demonstration and return its figures with a table for people."""
    _clear(directory)
    started = time.monotonic()
    run = f"demo-{seed}"
    steps = _Steps(quiet=quiet)
    with steps, ExitStack() as processes:
        steps.begin("writing the tables" if data else "building a simulated town")
        town, holder = _tables(directory, data, people=people, seed=seed)
        steps.begin("agreeing and signing")
        agree_all(town, holder, {"quota": _quota(town)})
        list_witnesses(town)
        steps.begin("starting the hub and three nodes")
        start_town(town, processes, directory / "logs")
        steps.begin("making the key that nobody holds")
        begin_epoch(town)
        lookups: Lookups | None = None
        if data is None:
            steps.begin("publishing reports, checking and screening customers")
            lookups = look_up(town, directory / "town")
        steps.begin("training over Flower")
        agreed = AGREED_COLUMNS if data is None else None
        _train(town, holder, run, epsilon=epsilon, agreed=agreed)
        steps.begin("verifying the hub's log, computing the references")
        with ThreadPoolExecutor(1) as pool:
            # The references need the processor, the log waits for its witnesses: both at once.
            comparing = pool.submit(compare, town, holder, run)
            evidence = take_evidence(town, directory / "evidence" / "log")
            figures = comparing.result()
    seconds = time.monotonic() - started
    following = f"lianfang node sent {town.nodes[_other(town, holder)]} {run}"
    result = _result(figures, directory, run, epsilon=epsilon, seconds=seconds)
    if lookups is not None:
        result |= {"lookups": asdict(lookups)}
        result["table"] = f"{draw_lookups(lookups)}\n\n{result['table']}"
    result |= {"evidence": asdict(evidence)}
    result["table"] += f"\n\n{draw_evidence(evidence)}"
    return result | {"following": following}


def _tables(directory: Path, data: Path | None, *, people: int, seed: int) -> tuple[Town, str]:
    """Write every partner's table and contract, make the hub, and bring the partners to it."""
    bringing: dict[str, Bringing] = {}
    if data is None:
        folder = directory / "town"
        write_town(folder, seed, people)
        holder = LABEL_HOLDER
        for name in ("insurer", "telecom", "police"):
            own = folder / name
            bringing[name] = Bringing(own / "table.parquet", own / "contract.json")
    else:
        dataset, folder = load_dataset(data), directory / "data"
        folder.mkdir(parents=True)
        holder = dataset.label_holder
        held_out = split_rows(dataset.labels, seed)
        for name in dataset.parties:
            table, contract = folder / f"{name}.parquet", folder / f"{name}.json"
            dataset.write_party(name, table, held_out)
            contract.write_text(json.dumps(dataset.contract(name).format()))
            bringing[name] = Bringing(table, contract, HELD_OUT if name == holder else None)
    town = make_hub(directory)
    join_partners(town, bringing)
    return town, holder


def _train(town: Town, holder: str, run: str, *, epsilon: float, agreed: str | None) -> None:
    run_command(
        *("lianfang-hub", "propose", str(town.hub), run, "--label-holder", holder),
        *("--epsilon", repr(epsilon), "--min-rows", "100"),
        *(() if agreed is None else ("--columns", agreed)),
    )
    command = [sys.executable, "-m", "server.cli", "run", str(town.hub), run]
    # Nodes that have just started may take a moment until the hub has let them in.
    command += ["--wait", "60", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own module
    if done.returncode != 0:
        state = json.loads(done.stdout)["state"] if done.stdout else {"trouble": []}
        said = "; ".join(f"{t['party']}, {t['phase']}: {t['reason']}" for t in state["trouble"])
        raise CommandError(f"the run did not end well: {said or done.stderr.strip()}")


def _clear(directory: Path) -> None:
    """Make room for a new demonstration; never touches a directory that is not one."""
    if directory.exists() and any(directory.iterdir()):
        if not (directory / MARK).exists():
            raise CommandError(
                f"{directory}: not empty and no demonstration; choose another directory"
            )
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MARK).write_text('{"what": "demonstration data, safe to delete"}\n')


def _result(
    figures: Comparison, directory: Path, run: str, *, epsilon: float, seconds: float
) -> dict[str, Any]:
    record = load_json(directory / "hub" / "runs" / run / "record.json")
    spent = record["privacy"]["epsilon_spent"]
    sent = {
        name: sum(size for phase in phases.values() for size in phase.values())
        for name, phases in record["bytes"]["by_partner"].items()
    }
    table = draw_table(
        figures, spent=spent, delta=record["privacy"]["delta"], seconds=seconds, sent=sent
    )
    return {
        "run": run,
        "auc_label_holder": figures.alone,
        "auc": figures.joint,
        "auc_pooled": figures.pooled,
        "epsilon": spent,
        "epsilon_planned": epsilon,
        "seconds": round(seconds, 1),
        "bytes_sent": sent,
        "record": str(directory / "hub" / "runs" / run / "record.json"),
        "table": table,
    }


def _quota(town: Town) -> int:
    """Return how much every asker may ask: enough to screen its whole base, and to train."""
    return max(DEFAULT_QUOTA, 3 * largest_table(town))


def _other(town: Town, holder: str) -> str:
    return next(name for name in sorted(town.nodes, reverse=True) if name != holder)


class _Steps:
    """One line for every step that is under way, on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
            console=Console(stderr=True), disable=quiet,
        )  # fmt: skip
        self._current: Any = None

    def begin(self, what: str) -> None:
        """End the step before and show a new one."""
        self._end()
        self._current = self._progress.add_task(what, total=None)

    def __enter__(self) -> _Steps:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._progress.stop()

    def _end(self) -> None:
        if self._current is not None:
            self._progress.update(self._current, total=1, completed=1)
