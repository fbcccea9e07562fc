"""Answer one request as a witness, and be killed at a moment on the way.

    python witness_and_die.py NODE_DIR REQUEST MOMENT

MOMENT is `signed` (cosigned, nothing stored), `written` (stored, not committed), `stored`
(durable, not answered) or `never`. Prints the status if it lives to answer.
"""

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

from clients.witness.service import open_witness
from clients.witness.store import Turn, WitnessStore


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class DyingTurn(Turn):
    """A turn that ends before or after what it stores."""

    moment = "never"

    def store(self, seen):
        if self.moment == "signed":
            die()
        super().store(seen)
        if self.moment == "written":
            die()


class DyingStore(WitnessStore):
    """A store after whose commit the process is gone."""

    moment = "never"

    @contextmanager
    def turn(self):
        with super().turn() as turn:
            yield DyingTurn(turn._connection, turn._kept)
        if self.moment == "stored":
            die()


def main(directory, request, moment):
    DyingTurn.moment = DyingStore.moment = moment
    with open_witness(directory) as witness:
        witness.store.close()
        witness.store = DyingStore(directory / "witness")
        sys.stdout.write(f"{witness.add_checkpoint(request.read_bytes()).status}\n")


main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
