"""One log of a process on standard error, in JSON or for people; every line of it is redacted.

All loggers write through the one handler here, those of libraries too: what they say, their
exceptions and tracebacks pass `compliance.redaction` before they are written. So do exceptions
that nobody catches. A message that is itself one JSON object becomes the fields of its line.

uvicorn's access log and httpx's line for every request stay off: they hold paths.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter

from compliance.operation.settings import FORMAT_VARIABLE, LogFormat
from compliance.redaction import redact, redact_fields

Event = MutableMapping[str, Any]

# These write through handlers of their own unless told otherwise, some once they are imported.
_FOREIGN = ("flwr", "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
_SILENT = ("uvicorn.access",)
_QUIET = ("httpx", "httpcore", "urllib3", "asyncio", "opentelemetry")
# The number that the API drew for a request, and told the caller: nine digits may follow one
# another in it. Identifiers of persons do not have two letters and fourteen other digits.
_REQUEST_ID = re.compile(r"(?=(?:[0-9]*[a-f]){2})[0-9a-f]{16}")
# Names of a line's own fields: what a message brings along does not replace them.
_OWN = ("timestamp", "level", "logger", "exception")


class RedactingFilter(logging.Filter):
    """Redacts a record in place, for loggers whose handlers are not ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without what may identify a person."""
        record.msg, record.args = redact(_message(record)), ()
        if record.exc_info:
            # A plain formatter takes this text and never formats the exception itself.
            record.exc_text = redact("".join(traceback.format_exception(*record.exc_info)))
            record.exc_info = None
        return True


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the library's name
        """Say that a line is lost; the library would print the record's arguments as they are."""
        lost = logging.LogRecord(
            "lianfang", logging.ERROR, "", 0, "a line of %s is lost", (record.name,), None
        )
        try:
            self.stream.write(self.format(lost) + self.terminator)
        except (OSError, ValueError):
            return  # standard error is closed: there is nobody to tell


def configure_logging(
    form: LogFormat = LogFormat.TEXT, *, stream: TextIO | None = None, level: int = logging.INFO
) -> None:
    """Have everything in this process log to standard error in this form; may be repeated.

    Child processes of ours find the form in the environment.
    """
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(formatter(form))
    root = logging.getLogger()
    for former in list(root.handlers):
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _FOREIGN:
        _take_over(logging.getLogger(name))
    for name in _SILENT:
        logging.getLogger(name).disabled = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)  # noqa: FBT003  # the library's signature
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    os.environ[FORMAT_VARIABLE] = form.value


def configure_as_parent() -> None:
    """Log as the process that started this one does, by what it left in the environment."""
    found = os.environ.get(FORMAT_VARIABLE, "")
    configure_logging(LogFormat(found) if found in set(LogFormat) else LogFormat.TEXT)


def formatter(form: LogFormat) -> logging.Formatter:
    """Return the formatter of a form, for handlers that are made elsewhere."""
    return ProcessorFormatter(
        foreign_pre_chain=[_described, _unpacked],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _redacted,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _as_json if form is LogFormat.JSON else _as_text,
        ],
    )


def _described(_logger: object, _method: str, event: Event) -> Event:
    record: logging.LogRecord = event["_record"]
    return {**event, "level": record.levelname.lower(), "logger": record.name}


def _unpacked(_logger: object, _method: str, event: Event) -> Event:
    """Take the fields out of a message that is one JSON object."""
    text = event["event"]
    if not isinstance(text, str) or not text.startswith("{"):
        return event
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return event
    mine = {
        name: value for name, value in event.items() if name != "event" or "event" not in fields
    }
    return {**fields, **mine}


def _redacted(_logger: object, _method: str, event: Event) -> Event:
    found = redact_fields(event)
    number = event.get("id")
    if isinstance(number, str) and _REQUEST_ID.fullmatch(number):
        found["id"] = number
    return found


def _as_json(_logger: object, _method: str, event: Event) -> str:
    own = {name: event.pop(name) for name in ("timestamp", "level", "logger") if name in event}
    return json.dumps({**own, **event}, ensure_ascii=False, default=str)


def _as_text(_logger: object, _method: str, event: Event) -> str:
    fields = {name: value for name, value in event.items() if name not in {*_OWN, "event"}}
    parts = [event["timestamp"], event.get("level", ""), event.get("logger", ""), event["event"]]
    parts += [f"{name}={value}" for name, value in fields.items()]
    # One line for one event, whatever somebody sent us: only a traceback has several.
    line = " ".join(str(part).replace("\r", " ").replace("\n", " ") for part in parts)
    return f"{line}\n{event['exception']}" if "exception" in event else line


def _take_over(logger: logging.Logger) -> None:
    """Have a library's logger write through the root; what it adds later is redacted too."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.propagate = True
    if not any(isinstance(item, RedactingFilter) for item in logger.filters):
        logger.addFilter(RedactingFilter())


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return "a message whose arguments do not fit it"


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("lianfang").critical("uncaught exception", exc_info=(kind, error, trace))


def _uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None and found.exc_type is not SystemExit:
        trace = (found.exc_type, found.exc_value, found.exc_traceback)
        logging.getLogger("lianfang").error("uncaught exception in a thread", exc_info=trace)
