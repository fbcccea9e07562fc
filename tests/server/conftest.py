"""What three partners handed in, and plans over them."""

from collections.abc import Callable
from typing import Any

import pytest

from protocols.vertical.plan import TrainingPlan
from server.training.proposal import Choices, propose

COLUMNS = {"insurer": ["age"], "telecom": ["calls", "minutes", "cells"], "police": ["reports"]}


def handed_in() -> dict[str, dict[str, Any]]:
    """Return what each partner handed in to join."""
    return {
        name: {
            "name": name,
            "identity": f"{number:02x}" * 32,
            "flower_public": "",
            "contract": {
                "identifier": {"column": "id", "kind": "opaque"},
                "label": "y" if name == "insurer" else None,
                "columns": [
                    {"name": column, "kind": "numeric", "low": 0, "high": 9, "missing": False}
                    for column in columns
                ],
            },
        }
        for number, (name, columns) in enumerate(COLUMNS.items(), 1)
    }


@pytest.fixture
def partners() -> dict[str, dict[str, Any]]:
    """What each partner handed in; a test may change it."""
    return handed_in()


@pytest.fixture(scope="session")
def choices() -> Callable[..., Choices]:
    """An operator's choices, with changes."""

    def chosen(**changes: Any) -> Choices:
        return Choices(
            **{
                "run": "spring", "purpose": "https://example.org/fraud", "epsilon": 1.0,
                "delta": 1e-5, "label_holder": "insurer", "columns": {}, "steps": 5,
            } | changes
        )  # fmt: skip

    return chosen


@pytest.fixture(scope="session")
def plan(choices: Callable[..., Choices]) -> TrainingPlan:
    """A plan of five steps over three partners."""
    return propose(choices(), handed_in())
