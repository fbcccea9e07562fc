"""Spans to an OpenTelemetry collector, scrubbed before they leave; optional, extra `[otel]`.

Import this module only where a collector is configured: nothing else here needs the library.
A span has the name of an operation, organisations, purposes and numbers. Whatever else a span
of ours or of an instrumentation may hold is taken out on its way to the exporter: paths,
queries, addresses, headers, statements, messages of exceptions; every text that stays is
redacted as log lines are. Traces begin here: what a caller sends as its trace is not taken up,
since its numbers and its state are the caller's own words.

Source:
    OpenTelemetry semantic conventions 1.34 for the names of attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceState

from compliance.operation.observing import (
    Answering,
    Append,
    Ask,
    Evaluation,
    Request,
    Work,
    outcome_of,
)
from compliance.operation.settings import check_collector
from compliance.redaction import is_dropped, redact, redact_value

_TRACES = "/v1/traces"
_TIMEOUT_S = 5
_STATUS_OF_FAULTS = 500
# With all that stands below them: `url` is also `url.path` and `url.query`.
_REMOVED = (
    *("url", "http.url", "http.target", "http.client_ip", "http.host", "http.user_agent"),
    *("http.request.header", "http.response.header", "client", "source", "net", "network.peer"),
    *("network.local", "server.socket", "user", "user_agent", "enduser", "session", "peer"),
    *("db.statement", "db.query", "db.operation.parameter", "exception.message"),
    *("exception.stacktrace", "graphql", "messaging", "rpc.request", "rpc.response", "process"),
    *("host", "code.stacktrace", "thread", "log"),
)
_KEPT_OF_EVENTS = ("exception.type",)


class ScrubbingProcessor(SpanProcessor):
    """Hands a scrubbed copy of every span on; the one before it is never exported.

    Args:
        inner: what exports.
    """

    def __init__(self, inner: SpanProcessor) -> None:
        self._inner = inner

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Keep the span back: as it begins it may hold what is taken out later."""

    def on_end(self, span: ReadableSpan) -> None:
        """Scrub and hand on."""
        self._inner.on_end(scrubbed(span))

    def shutdown(self) -> None:
        """End the export."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what waits."""
        return self._inner.force_flush(timeout_millis)


class Tracing:
    """Makes spans of work from its construction to `close`; for any number of threads.

    Args:
        service: name of the process, such as `lianfang-hub`; site: of the organisation.
        exporter: in place of the one to the collector.

    Raises:
        ConfigError: the collector's URL is none that spans may be sent to.
    """

    def __init__(
        self, service: str, site: str, collector: str, *, exporter: SpanExporter | None = None
    ) -> None:
        out = exporter or OTLPSpanExporter(
            check_collector(collector).rstrip("/") + _TRACES, timeout=_TIMEOUT_S
        )
        # A resource of our own: the library's default takes up what the environment holds.
        self._provider = TracerProvider(
            resource=Resource({"service.name": service, "service.namespace": site}),
            sampler=ALWAYS_ON,
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(ScrubbingProcessor(BatchSpanProcessor(out)))
        self._tracer = self._provider.get_tracer("lianfang")

    @property
    def provider(self) -> TracerProvider:
        """What gives tracers to instrumentations; their spans are scrubbed as ours are."""
        return self._provider

    @contextmanager
    def during(self, work: Work) -> Iterator[None]:
        """As `compliance.operation.observing.Observes.during`."""
        name, kind, attributes = _begun(work)
        with self._tracer.start_as_current_span(
            name,
            # A request is the root of its trace, whatever context its thread has.
            context=Context() if isinstance(work, Request) else None,
            kind=kind,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_attribute("error.type", outcome_of(error))
                span.set_status(Status(StatusCode.ERROR))
                raise
            finally:
                if isinstance(work, Request):
                    span.update_name(work.operation)
                    span.set_attribute("http.route", work.route)
                    span.set_attribute("http.response.status_code", work.status)
                    span.set_attribute("lianfang.role", work.role)
                    if work.status >= _STATUS_OF_FAULTS:
                        span.set_status(Status(StatusCode.ERROR))

    def flush(self) -> bool:
        """Send what waits."""
        return self._provider.force_flush()

    def close(self) -> None:
        """Send what waits and end."""
        self._provider.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def scrubbed(span: ReadableSpan) -> ReadableSpan:
    """Return a copy of a span that may leave the process."""
    return ReadableSpan(
        name=redact(span.name),
        context=_own(span.get_span_context()),
        parent=_own(span.parent),
        resource=Resource(_attributes(span.resource.attributes)),
        attributes=_attributes(span.attributes),
        events=tuple(_event(item) for item in span.events),
        links=tuple(Link(_certain(item.context), None) for item in span.links),
        kind=span.kind,
        # The description is an exception's text.
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=_scope(span.instrumentation_scope),
    )


def _begun(work: Work) -> tuple[str, SpanKind, dict[str, str | int]]:
    match work:
        case Request():
            return "request", SpanKind.SERVER, {}
        case Evaluation(purpose, elements):
            found: dict[str, str | int] = {"lianfang.purpose": purpose}
            return "evaluation", SpanKind.INTERNAL, {**found, "lianfang.elements": elements}
        case Ask(holder, kind):
            return "ask", SpanKind.CLIENT, {"lianfang.holder": holder, "lianfang.kind": kind}
        case Answering(kind):
            return "answer", SpanKind.SERVER, {"lianfang.kind": kind}
        case Append():
            return "log append", SpanKind.INTERNAL, {}


def _attributes(found: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        redact(name): _value(value)
        for name, value in (found or {}).items()
        if not _is_removed(name)
    }


def _value(value: object) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        # Of one type, as the export demands: what was removed makes all of them texts.
        items = [redact_value(item) for item in value]
        return tuple(items if len({type(item) for item in items}) < 2 else map(str, items))  # noqa: PLR2004 - one type or none
    return redact_value(value)


def _is_removed(name: str) -> bool:
    lower = name.lower()
    return is_dropped(lower) or any(
        lower == root or lower.startswith((f"{root}.", f"{root}_")) for root in _REMOVED
    )


def _event(event: Event) -> Event:
    found = event.attributes or {}
    kept = {name: redact(str(found[name])) for name in _KEPT_OF_EVENTS if name in found}
    return Event(redact(event.name), kept, event.timestamp)


def _scope(scope: InstrumentationScope | None) -> InstrumentationScope | None:
    return None if scope is None else InstrumentationScope(redact(scope.name))


def _own(context: SpanContext | None) -> SpanContext | None:
    return None if context is None else _certain(context)


def _certain(context: SpanContext) -> SpanContext:
    """Return the numbers of a span without the state, which is free text of whoever began it."""
    return SpanContext(
        context.trace_id, context.span_id, context.is_remote, context.trace_flags, TraceState()
    )
