"""One run at this node: its directory, its keys, and what has been agreed so far.

plan.json       the accepted plan, canonical bytes
ephemeral.key   X25519, made on acceptance, deleted when the run ends
announced.json  the other partners' verified ephemeral keys
attempts.json   the last attempt of every phase; never used twice, since the seals count on it
run.key         partners-only run key, deleted when the run ends
rows.npy, taken.npy, held_out.npy, features.npy, weights.npy   what the phases leave for one another
sent.json       bytes by phase and recipient; progress.json: how far a phase has come
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from clients.keys import credentials
from clients.node.channel import Channel
from clients.node.files import load_json, make_private_directory, store_json
from clients.node.home import Home
from clients.transport import Link
from compliance.atrest.secrets import read_secret, write_secret
from compliance.files import write_atomically
from compliance.ledger import Ledger
from protocols.dp.events import DpEvent
from protocols.errors import OutOfTurnError
from protocols.link import phase_label
from protocols.program import Progress
from protocols.seal import Pair, derive_pair
from protocols.vertical.plan import TrainingPlan

if TYPE_CHECKING:
    from protocols.phase import PhaseRequest

_KEPT_CHECKPOINTS = 2
_PROGRESS_EVERY_S = 0.5


@dataclass(slots=True)
class Session:
    """The node's side of one run, as it lies on disk."""

    home: Home
    directory: Path
    plan: TrainingPlan
    ours: str

    @classmethod
    def create(cls, home: Home, plan: TrainingPlan) -> Session:
        """Begin a run whose plan was accepted; a changed plan begins it anew.

        Raises:
            OutOfTurnError: the run has ended, or has gone on with another plan.
        """
        check_unused(home, plan)
        directory = make_private_directory(home.run(plan.run))
        write_atomically(directory / "plan.json", plan.encode())
        write_secret(directory / "ephemeral.key", X25519PrivateKey.generate().private_bytes_raw())
        return cls(home, directory, plan, home.config().name)

    @classmethod
    def resume(cls, home: Home, run: str) -> Session:
        """Open a run that was accepted before.

        Raises:
            OutOfTurnError: this node has accepted no plan for it, or the run has ended.
        """
        directory = home.run(run)
        path = directory / "plan.json"
        if not path.exists() or not (directory / "ephemeral.key").exists():
            raise OutOfTurnError(f"run {run}: no plan is accepted here, or the run has ended")
        return cls(home, directory, TrainingPlan.decode(path.read_bytes()), home.config().name)

    @property
    def total(self) -> int:
        """Return the size of the joint table."""
        total: int = load_json(self.directory / "alignment.json")["total"]
        return total

    @property
    def ephemeral(self) -> X25519PrivateKey:
        """Return our ephemeral key of this run."""
        return X25519PrivateKey.from_private_bytes(read_secret(self.directory / "ephemeral.key"))

    def begin(self, request: PhaseRequest) -> None:
        """Use up an attempt of a phase, durably, before any key is derived for it.

        Raises:
            OutOfTurnError: the attempt, or a later one, was used before.
        """
        path = self.directory / "attempts.json"
        attempts: dict[str, int] = load_json(path) if path.exists() else {}
        used = attempts.get(request.phase, 0)
        if request.attempt <= used:
            raise OutOfTurnError(
                f"phase {request.phase}: attempt {request.attempt} was used, the next is {used + 1}"
            )
        store_json(path, attempts | {request.phase: request.attempt})

    def pairs(self, phase: str, attempt: int) -> dict[str, Pair]:
        """Derive the sealed channels with every other partner for one attempt of a phase."""
        announced: dict[str, str] = load_json(self.directory / "announced.json")
        return {
            name: derive_pair(
                self.ephemeral,
                bytes.fromhex(public),
                run=self.plan.run,
                plan_hash=self.plan.digest,
                ours=self.ours,
                theirs=name,
                phase=phase,
                attempt=attempt,
            )
            for name, public in announced.items()
        }

    @contextmanager
    def channel(
        self, request: PhaseRequest, charge: Callable[[str, DpEvent], None] | None = None
    ) -> Iterator[Channel]:
        """Open the link for one phase; what was sent is recorded however it ends."""
        config = self.home.config()
        link = Link(
            config.link,
            credentials(self.home.keys),
            self.plan.run,
            request.phase,
            min(request.deadline_s, self.plan.deadline_s),
            attempt=request.attempt,
        )
        try:
            with link:
                yield Channel(
                    carrier=link,
                    pairs=self.pairs(request.phase, request.attempt),
                    charge=charge or _refuse_charge,
                    keep=self._keep,
                    progress=_ProgressFile(self.directory / "progress.json"),
                )
        finally:
            self._record_sent(phase_label(request.phase, request.attempt), dict(link.bytes_sent))

    def charger(self, ledger: Ledger, attempt: int) -> Callable[[str, DpEvent], None]:
        """Return the act of paying for one release; durable before it returns."""

        def charge(label: str, event: DpEvent) -> None:
            ledger.charge(self.plan.run, f"{label}/attempt/{attempt}", event, int(time.time()))

        return charge

    def checkpoints(self) -> dict[int, bytes]:
        """Return the states of the training that were kept, by step."""
        found = self.directory.glob("checkpoint-*.bin")
        return {int(path.stem.split("-")[1]): read_secret(path) for path in found}

    def _keep(self, step: int, state: bytes) -> None:
        write_secret(self.directory / f"checkpoint-{step}.bin", state)
        # Everything else goes, later steps of an abandoned attempt included: what is told to
        # the others as held must be what was reached last.
        kept = {f"checkpoint-{step - back}.bin" for back in range(_KEPT_CHECKPOINTS)}
        for path in self.directory.glob("checkpoint-*.bin"):
            if path.name not in kept:
                path.unlink()

    def _record_sent(self, label: str, sent: dict[str, int]) -> None:
        path = self.directory / "sent.json"
        before: dict[str, Any] = load_json(path) if path.exists() else {}
        store_json(path, before | {label: sent})


def check_unused(home: Home, plan: TrainingPlan) -> None:
    """Refuse a plan under the name of a run that stands for something else here.

    What a run was accepted for, and what it cost, must stay on record: another plan under
    its name would stand over the old releases.

    Raises:
        OutOfTurnError: the run has ended, or has gone on with another plan.
    """
    directory = home.run(plan.run)
    if (directory / "record.json").exists():
        raise OutOfTurnError(f"run {plan.run}: has ended here; propose it under another name")
    begun = (directory / "attempts.json").exists()
    if begun and (directory / "plan.json").read_bytes() != plan.encode():
        raise OutOfTurnError(
            f"run {plan.run}: has begun here with another plan; propose it under another name"
        )


class _ProgressFile:
    """Writes progress for people to watch, at most twice a second and at every end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written_at = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.done < progress.total and now - self._written_at < _PROGRESS_EVERY_S:
            return
        self._written_at = now
        value = {"phase": progress.phase, "done": progress.done, "total": progress.total}
        waiting = self._path.with_suffix(".new")
        waiting.write_text(json.dumps(value))
        waiting.replace(self._path)


def _refuse_charge(label: str, event: DpEvent) -> None:
    del event  # whatever it would have cost
    raise OutOfTurnError(f"{label}: this phase releases nothing that costs budget")
