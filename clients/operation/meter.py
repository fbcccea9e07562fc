"""Counting the work of a node's key holder: questions of the hub, entries of the own log.

Labels are kinds of question and stable codes; nothing of a request is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Histogram

from compliance.operation.observing import DONE, Answering, Append, Work, outcome_of

PREFIX = "lianfang_node"
_WORK_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
OTHER = "other"


class NodeMeter:
    """Observes the holder's work into one registry; for any number of threads.

    Args:
        kinds: of questions that a holder answers; others count as one, since the hub names them.
    """

    def __init__(self, registry: CollectorRegistry, kinds: frozenset[str]) -> None:
        self._kinds = kinds
        self._answers = Counter(
            f"{PREFIX}_answers_total",
            "Questions of the hub by kind, and what came of them: done, or why they were refused.",
            ["kind", "outcome"],
            registry=registry,
        )
        self._answer_s = Histogram(
            f"{PREFIX}_answer_seconds",
            "Seconds until a question was answered.",
            ["kind"],
            buckets=_WORK_S,
            registry=registry,
        )
        self._append_s = Histogram(
            f"{PREFIX}_log_append_seconds",
            "Seconds until an entry of the own log was durable.",
            buckets=_WORK_S,
            registry=registry,
        )

    @contextmanager
    def during(self, work: Work) -> Iterator[None]:
        """As `compliance.operation.observing.Observes.during`."""
        began = perf_counter()
        outcome = DONE
        try:
            yield
        except BaseException as error:
            outcome = outcome_of(error)
            raise
        finally:
            self._count(work, perf_counter() - began, outcome)

    def _count(self, work: Work, seconds: float, outcome: str) -> None:
        match work:
            case Answering(kind):
                known = kind if kind in self._kinds else OTHER
                self._answers.labels(known, outcome).inc()
                if outcome == DONE:
                    self._answer_s.labels(known).observe(seconds)
            case Append() if outcome == DONE:
                self._append_s.observe(seconds)
            case _:
                pass
