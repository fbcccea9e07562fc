"""Counting the hub's work: requests, evaluations, asks of holders, entries of the log.

Labels are operations of the API, roles, purposes, partners' names and stable codes: there are
some dozens of each. A path, a person, a case or the number of a request is none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from compliance.operation.observing import (
    DONE,
    Append,
    Ask,
    Evaluation,
    Request,
    Work,
    outcome_of,
)

PREFIX = "lianfang_hub"
# From a lookup on loopback to a table of a gibibyte.
_REQUEST_S = (0.005, 0.01, 0.015, 0.025, 0.06, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WORK_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class HubMeter:
    """Observes the hub's work into one registry; for any number of threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"{PREFIX}_{name}", text, labels, buckets=buckets, registry=registry)

        self._requests = counter(
            "requests_total",
            "Requests by operation, class of status and role of the caller.",
            *("operation", "status", "role"),
        )
        self._request_s = histogram(
            "request_seconds", "Seconds until a request was answered.", _REQUEST_S, "operation"
        )
        self._under_way = Gauge(
            f"{PREFIX}_requests_under_way", "Requests being served.", registry=registry
        )
        labels = ("outcome", "purpose")
        self._evaluations = counter("evaluations_total", "Signed requests evaluated.", *labels)
        self._elements = counter("evaluated_elements_total", "Elements of these requests.", *labels)
        self._evaluation_s = histogram(
            "evaluation_seconds", "Seconds until enough holders had answered.", _WORK_S, "purpose"
        )
        self._ask_s = histogram(
            "ask_seconds", "Seconds until a holder answered.", _WORK_S, "holder", "kind"
        )
        self._ask_failures = counter(
            "ask_failures_total", "Asks of a holder without an answer.", "holder", "kind", "code"
        )
        self._append_s = histogram(
            "log_append_seconds", "Seconds until an entry of the log was durable.", _WORK_S
        )
        self._append_failures = counter(
            "log_append_failures_total", "Entries that could not be made durable.", "code"
        )

    @contextmanager
    def during(self, work: Work) -> Iterator[None]:
        """As `compliance.operation.observing.Observes.during`."""
        if isinstance(work, Request):
            self._under_way.inc()
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
            case Request(operation, _, role, status):
                self._requests.labels(operation, f"{status // 100}xx", role).inc()
                self._request_s.labels(operation).observe(seconds)
                # Last, so that none under way means that all are counted.
                self._under_way.dec()
            case Evaluation(purpose, elements):
                self._evaluations.labels(outcome, purpose).inc()
                self._elements.labels(outcome, purpose).inc(elements)
                self._evaluation_s.labels(purpose).observe(seconds)
            case Ask(holder, kind) if outcome == DONE:
                self._ask_s.labels(holder, kind).observe(seconds)
            case Ask(holder, kind):
                self._ask_failures.labels(holder, kind, outcome).inc()
            case Append() if outcome == DONE:
                self._append_s.observe(seconds)
            case Append():
                self._append_failures.labels(outcome).inc()
            case _:
                pass
