"""Finding the documents that a decision was about: run plans and terms of epochs, by hash."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from compliance.agreement.coverage import Documents
from protocols.epoch.setup import KeygenTerms
from protocols.errors import ProtocolError
from protocols.vertical.plan import TrainingPlan


def documents_in(runs: Path, files: Iterable[Path]) -> Documents:
    """Return a finder over the plans of a node's runs and further files.

    Raises:
        OSError: one of the files cannot be read.
    """
    known = {}
    for path in (*sorted(runs.glob("*/plan.json")), *files):
        data = path.read_bytes()
        for read in (TrainingPlan.decode, KeygenTerms.decode):
            try:
                known[read(data).digest] = data
            except ProtocolError:
                continue  # it is the other kind, or none that a question names
    return known.get
