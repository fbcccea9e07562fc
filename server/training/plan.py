"""A run's plan, as the hub's operator made it, and the run's folder in the hub's directory.

    runs/<run>/plan.json     written once, before the run starts
    runs/<run>/flower.json   Flower's id of the run
    runs/<run>/state.json    the coordinator's last state, replaced as a whole

A reader never sees half a file: each is written beside its place, made durable, then renamed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from compliance.files import write_atomically
from protocols.errors import UnsupportedParameterError
from protocols.phase import ALL_PHASES, MAX_ATTEMPT, MAX_DEADLINE_S, PHASES, verify_run_name

DEFAULT_DEADLINE_S = 600


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Who does which phases, how long each may take, and what a refusal means.

    Args:
        kind: names the hub's part in the run; see `server.training.serverapp`.
        nodes: the partners' registered names.
        phases: in the order of `protocols.phase.ALL_PHASES`; not all need to occur.
        on_refusal: whether a refusal of the plan ends the run, or the others go on.
        required: partners without whom the others do not go on.
        attempts: how often a phase is asked for in all, if a partner fails.
        deadlines_s: by phase; the others have `DEFAULT_DEADLINE_S`.
    """

    run: str
    kind: str
    nodes: tuple[str, ...]
    phases: tuple[str, ...] = PHASES
    on_refusal: Literal["end", "continue"] = "end"
    required: tuple[str, ...] = ()
    attempts: int = 1
    deadlines_s: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        verify_run_name(self.run)
        _verify(bool(self.nodes), "nodes: at least one partner must be named")
        _verify(len(set(self.nodes)) == len(self.nodes), "nodes: a partner is named twice")
        _verify(set(self.required) <= set(self.nodes), "required: names a partner not in nodes")
        in_order = tuple(phase for phase in ALL_PHASES if phase in self.phases)
        _verify(
            bool(self.phases) and self.phases == in_order,
            f"phases: must be some of {', '.join(ALL_PHASES)}, in this order",
        )
        _verify(self.on_refusal in {"end", "continue"}, "on_refusal: must be end or continue")
        _verify(1 <= self.attempts <= MAX_ATTEMPT, f"attempts: not in 1..{MAX_ATTEMPT}")
        for phase, seconds in self.deadlines_s.items():
            _verify(phase in ALL_PHASES, "deadlines_s: names an unknown phase")
            _verify(
                1 <= seconds <= MAX_DEADLINE_S, f"deadlines_s: {phase} not in 1..{MAX_DEADLINE_S}"
            )

    def deadline_s(self, phase: str) -> int:
        """Seconds for which the hub waits for the replies of a phase."""
        return self.deadlines_s.get(phase, DEFAULT_DEADLINE_S)

    def goes_on_with(self, nodes: tuple[str, ...]) -> bool:
        """Whether the run makes sense with these partners alone."""
        return self.on_refusal == "continue" and bool(nodes) and set(self.required) <= set(nodes)

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> RunPlan:
        """Read a plan from JSON values.

        Raises:
            UnsupportedParameterError: if a field is missing, unknown or out of range.
        """
        values = dict(fields)
        for name in ("nodes", "phases", "required"):
            if name in values:
                values[name] = tuple(values[name])
        try:
            return cls(**values)
        except TypeError as error:
            raise UnsupportedParameterError(
                "plan: a field is missing, unknown or of a wrong type"
            ) from error


class RunFolder:
    """One run's folder in the hub's directory."""

    def __init__(self, home: Path, run: str) -> None:
        verify_run_name(run)  # the name becomes a path
        self.path = home / "runs" / run

    def store_plan(self, plan: RunPlan) -> None:
        """Keep the plan; the coordinator reads it when the run starts."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._replace("plan.json", asdict(plan))

    def load_plan(self) -> RunPlan:
        """Read the plan.

        Raises:
            UnsupportedParameterError: if it does not hold together.
        """
        return RunPlan.parse(json.loads((self.path / "plan.json").read_text()))

    def store_state(self, state: Mapping[str, Any]) -> None:
        """Replace the run's state."""
        self._replace("state.json", state)

    def load_state(self) -> dict[str, Any] | None:
        """Read the run's last state; None before the coordinator has begun."""
        try:
            state: dict[str, Any] = json.loads((self.path / "state.json").read_text())
        except FileNotFoundError:
            return None
        return state

    def store_flower_run(self, run_id: int) -> None:
        """Keep Flower's id of the run."""
        self._replace("flower.json", {"flower_run": run_id})

    def load_flower_run(self) -> int | None:
        """Read Flower's id of the run; None if it was never started."""
        try:
            run_id: int = json.loads((self.path / "flower.json").read_text())["flower_run"]
        except FileNotFoundError:
            return None
        return run_id

    def store_record(self, record: Mapping[str, Any]) -> None:
        """Keep what the run did, once it has ended."""
        self._replace("record.json", record)

    def has_record(self) -> bool:
        """Whether the run has ended and been closed."""
        return (self.path / "record.json").exists()

    def store_bytes(self, name: str, data: bytes) -> None:
        """Replace a file of the folder as a whole."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / name, data)

    def _replace(self, name: str, value: Mapping[str, Any]) -> None:
        write_atomically(self.path / name, file_bytes(value))


def file_bytes(value: Mapping[str, Any]) -> bytes:
    """Return the bytes as which an object stands in a file of the run's folder."""
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def _verify(holds: bool, rule: str) -> None:  # noqa: FBT001  # the condition is the argument
    if not holds:
        raise UnsupportedParameterError(f"plan: {rule}")
