"""What this node does in each phase of a run; nothing here comes from the hub but requests."""

from __future__ import annotations

import importlib
from pathlib import Path

from clients.node.home import Home
from protocols.phase import PhaseReply, PhaseRequest, refused

# Modules are imported when their phase is asked for: torch is slow to load, and accepting
# or refusing a plan does not need it.
_MODULES = {
    "plan": "acceptance",
    "align": "alignment",
    "prepare": "preparation",
    "learn": "learning",
    "encode": "learning",
    "train": "training",
    "validate": "outcome",
    "score": "outcome",
    "finish": "closing",
}


def run(directory: Path, request: PhaseRequest) -> PhaseReply:
    """Do one phase as the node of this directory.

    Raises:
        ProtocolError, ComplianceError, TransportError, ConfigError: the phase failed; the
            shell turns them into a reply.
    """
    module = _MODULES.get(request.phase)
    if module is None:
        return refused("unknown_phase", "this node does not know the phase")
    phase = importlib.import_module(f"clients.node.phases.{module}")
    reply: PhaseReply = phase.run(Home(directory), request)
    return reply
