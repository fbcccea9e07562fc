"""Spans: what ours say, and that no identifier leaves in any part of any span."""

import sys
import threading

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from compliance.configuration import ConfigError
from compliance.errors import QuotaExhaustedError
from compliance.operation.observing import (
    UNOBSERVED,
    Answering,
    Append,
    Ask,
    Evaluation,
    Request,
    outcome_of,
)
from compliance.operation.settings import OperationSettings
from compliance.operation.tracing import Tracing
from compliance.operation.watching import start_watch

NATIONAL, PHONE, EMAIL = "A123456789", "0912-345-678", "somebody@example.org"
SECRETS = ("123456789", "345-678", "somebody", "345678")
REMOVED = [
    "url.path", "url.query", "url.full", "http.url", "http.target", "http.client_ip",
    "client.address", "client.port", "net.peer.ip", "network.peer.address", "user.id",
    "user_agent.original", "http.request.header.x-customer", "db.statement", "db.query.text",
    "exception.message", "exception.stacktrace", "enduser.id", "identifier", "lianfang.case",
    "customer.phone",
]  # fmt: skip


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter):
    with Tracing("lianfang-hub", "fraud-hub", "", exporter=exporter) as made:
        yield made


def finished(tracing, exporter):
    assert tracing.flush()
    return {span.name: span for span in exporter.get_finished_spans()}


def test_work_becomes_spans_of_one_trace(tracing, exporter):
    request = Request()
    with tracing.during(request):
        with tracing.during(Evaluation("counter", 3)):
            with tracing.during(Ask("police", "evaluate")):
                pass
            with tracing.during(Append()):
                pass
        request.operation, request.route = "evaluate", "/v1/evaluations"
        request.role, request.status = "insurer", 200
    spans = finished(tracing, exporter)
    assert set(spans) == {"evaluate", "evaluation", "ask", "log append"}
    assert len({span.context.trace_id for span in spans.values()}) == 1
    assert spans["ask"].parent.span_id == spans["evaluation"].context.span_id
    assert dict(spans["evaluate"].attributes) == {
        "http.route": "/v1/evaluations", "http.response.status_code": 200,
        "lianfang.role": "insurer",
    }  # fmt: skip
    assert spans["evaluate"].kind is SpanKind.SERVER
    assert dict(spans["evaluation"].attributes) == {
        "lianfang.purpose": "counter", "lianfang.elements": 3,
    }  # fmt: skip
    assert dict(spans["evaluate"].resource.attributes) == {
        "service.name": "lianfang-hub", "service.namespace": "fraud-hub",
    }  # fmt: skip


def test_a_failure_is_told_by_its_code_alone(tracing, exporter):
    error = QuotaExhaustedError(f"quota of {NATIONAL}", used=1, quota=1)
    with pytest.raises(QuotaExhaustedError), tracing.during(Answering("evaluate")):
        raise error
    span = finished(tracing, exporter)["answer"]
    assert span.attributes["error.type"] == "quota_exhausted"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert not span.events


def test_nothing_planted_anywhere_leaves(tracing, exporter):
    tracer = tracing.provider.get_tracer(f"instrumentation of {NATIONAL}", attributes={"a": PHONE})
    state = TraceState([("vendor", "a123456789")])
    remote = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    with tracer.start_as_current_span(
        f"GET /v1/customers/{NATIONAL}",
        attributes=dict.fromkeys(REMOVED, f"/{NATIONAL}?phone={PHONE}")
        | {
            "http.route": f"/v1/{NATIONAL}", "list": [NATIONAL, EMAIL], "mixed": (EMAIL, "kept"),
            "number": 912345678, "numbers": [1, 912345678], NATIONAL: "a key",
            "bytes": b"A123456789",
            "kept": "insurer", "count": 3,
        },
        links=[Link(remote, {"customer": NATIONAL})],
    ) as span:  # fmt: skip
        span.add_event(f"found {PHONE}", {"who": NATIONAL, "exception.type": "ValueError"})
        span.record_exception(ValueError(f"{NATIONAL} and {EMAIL}"), {"who": PHONE})
        span.set_status(Status(StatusCode.ERROR, f"failed for {NATIONAL}"))
    assert tracing.flush()
    (left,) = exporter.get_finished_spans()
    told = left.to_json() + repr([
        left.instrumentation_scope, left.links[0].context, left.links[0].attributes, left.status,
        left.resource.attributes,
    ])  # fmt: skip
    for secret in SECRETS:
        assert secret not in told
    assert not set(REMOVED) & set(left.attributes)
    assert {name: left.attributes[name] for name in ("kept", "count", "mixed")} == {
        "kept": "insurer", "count": 3, "mixed": ("[removed]", "kept"),
    }  # fmt: skip
    assert left.events[1].attributes == {"exception.type": "ValueError"}
    assert left.links[0].context.trace_id == 7


def test_a_callers_trace_is_not_taken_up(tracing, exporter):
    with tracing.during(Append()), tracing.during(Request("health", "/healthz")):
        pass
    assert finished(tracing, exporter)["health"].parent is None


def test_nothing_is_imported_unless_configured(monkeypatch):
    monkeypatch.setitem(sys.modules, "compliance.operation.tracing", None)
    with start_watch(
        OperationSettings(), prefix="x", service="x", site="x", meter=lambda _: UNOBSERVED
    ) as watch:
        assert (watch.observer, watch.registry, watch.tracing) == (UNOBSERVED, None, None)
        assert watch.serve([]) == 0
    with pytest.raises(ConfigError, match=r"install lianfang\[otel\]"):
        start_watch(
            OperationSettings(otel="http://127.0.0.1:1"), prefix="x", service="x", site="x",
            meter=lambda _: UNOBSERVED,
        )  # fmt: skip


def test_a_code_of_somebody_else_is_no_outcome():
    class RefusedError(Exception):
        def __init__(self):
            self.code = NATIONAL

    class StrangeError(Exception):
        code = f"of {NATIONAL}"

    assert outcome_of(RefusedError()) == "refused"
    assert outcome_of(StrangeError()) == "refused"
    assert outcome_of(ValueError()) == "internal_error"
    assert outcome_of(QuotaExhaustedError("", used=0, quota=0)) == "quota_exhausted"


def test_threads_share_one_observer(tracing, exporter):
    def work():
        for _ in range(20):
            with tracing.during(Evaluation("counter", 1)):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tracing.flush()
    assert len(exporter.get_finished_spans()) == 80
