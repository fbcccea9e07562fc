"""Phases over the link instead of Flower: `python -m clients.node.direct HOME RUN`.

One process does all phases of one run as the hub asks for them; what happens in a phase
is what happens under Flower. Used by benchmarks, whose subject is the protocol.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from clients.keys import credentials
from clients.node.answering import answer
from clients.node.home import Home
from clients.node.phases import run as run_phase
from clients.transport import Link
from protocols.link import TransportError
from protocols.phase import PHASES, PhaseRequest

HUB = "hub"
LAST = PHASES[-1]
_AGAIN_S = 0.1


def main() -> None:
    """Serve one run until the hub has asked for its last phase."""
    parser = argparse.ArgumentParser(prog="clients.node.direct")
    parser.add_argument("home", type=Path)
    parser.add_argument("run")
    parser.add_argument("--deadline-s", type=float, default=600)
    arguments = parser.parse_args()
    try:
        serve(Home(arguments.home), arguments.run, arguments.deadline_s)
    except TransportError as error:
        sys.exit(f"error: {error}")


def serve(home: Home, run: str, deadline_s: float) -> None:
    """Answer every phase of a run; returns when the run has ended."""
    link = _attach(home, run, deadline_s)
    last = ""
    try:
        while last != LAST:
            request = PhaseRequest.from_fields(json.loads(link.receive(HUB)))
            reply = answer(request, lambda asked: run_phase(home.root, asked))
            link.send(HUB, json.dumps(reply.fields()).encode())
            last = request.phase
        link.close()
    except TransportError:
        # The hub closes the run as soon as it has the last reply, maybe before we have left.
        if last != LAST:
            raise
    finally:
        link.abort()


def _attach(home: Home, run: str, deadline_s: float) -> Link:
    """Open our channel as soon as the hub has opened the run."""
    config = home.config()
    ends_at = time.monotonic() + deadline_s
    while True:
        try:
            return Link(
                config.link, credentials(home.keys), run, f"phases-{config.name}", deadline_s
            )
        except TransportError:
            if time.monotonic() > ends_at:
                raise
            time.sleep(_AGAIN_S)


if __name__ == "__main__":
    main()
