"""The one log of a process: its two forms, and nothing of a person in either."""

import json
import logging
import subprocess
import sys
import threading
import warnings

import pytest

from compliance.operation.logs import RedactingFilter, configure_logging
from compliance.operation.settings import LogFormat

NATIONAL, PHONE = "A123456789", "0912-345-678"
WIDE = NATIONAL.translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"})


@pytest.fixture(params=list(LogFormat))
def start(request, stream):
    """Begin a process's log in one of the forms; returns what tells all that was written."""

    def configure():
        configure_logging(request.param, stream=stream)
        return stream.getvalue

    return configure


def fail():
    raise ValueError(f"{NATIONAL} has no {PHONE}")


def test_nothing_of_a_person_is_written_by_any_way(start):
    log = start()
    said = logging.getLogger("lianfang.api")
    said.info("%s asked by %s", NATIONAL, WIDE)
    said.info(json.dumps({"event": NATIONAL, "wide": WIDE, "identifier": "x", "n": 912345678}))
    said.warning("extra", extra={"customer": NATIONAL})
    said.error("dictionary %(who)s", {"who": PHONE})
    try:
        fail()
    except ValueError as error:
        error.add_note(f"and {NATIONAL}")
        said.exception("failed for %s", PHONE, stack_info=True)
    text = log()
    assert "failed for" in text
    for secret in ("123456789", "345-678", WIDE[1:], "912345678"):
        assert secret not in text


def test_libraries_are_caught_whatever_handlers_they_bring(start, stream):
    log = start()
    # As Flower does when it is imported, after the log was configured.
    own = logging.StreamHandler(stream)
    own.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("flwr").addHandler(own)
    for name in ("flwr", "uvicorn.error", "grpc", "some.other"):
        try:
            fail()
        except ValueError:
            logging.getLogger(name).error("for %s", NATIONAL, exc_info=True)
    warnings.showwarning(f"{NATIONAL} is odd", UserWarning, "module.py", 1)
    assert log().count("for [removed]") == 5  # Flower's twice
    assert "123456789" not in log()


def test_what_nobody_catches_is_redacted(start):
    log = start()
    try:
        fail()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert log().count("uncaught exception") == 2
    assert "ValueError" in log()
    assert "123456789" not in log()


def test_a_message_that_cannot_be_formed_tells_no_argument(start, capsys):
    log = start()
    logging.getLogger("lianfang").info("number %d", NATIONAL)
    logging.getLogger("flwr").info("number %d", NATIONAL)
    assert "a line of lianfang is lost" in log()
    assert "123456789" not in log() + "".join(capsys.readouterr())


def test_access_logs_and_request_lines_stay_off(start):
    log = start()
    logging.getLogger("uvicorn.access").critical("GET /anything")
    logging.getLogger("httpx").info("HTTP Request: GET https://hub/v1/anything")
    assert log() == ""


def test_json_has_one_object_a_line(stream):
    configure_logging(LogFormat.JSON, stream=stream)
    said = logging.getLogger("lianfang.api")
    said.info(json.dumps({"event": "request", "id": "00f2ab14c9d01234", "status": 200, "level": 9}))
    said.info("two\nlines")
    said.info("{not json")
    said.info('["a list"]')
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["request", "two\nlines", "{not json", '["a list"]']
    assert {key: lines[0][key] for key in ("level", "logger", "id", "status")} == {
        "level": "info", "logger": "lianfang.api", "id": "00f2ab14c9d01234", "status": 200,
    }  # fmt: skip
    assert lines[0]["timestamp"].endswith("Z")


def test_the_number_of_a_request_stays_and_nothing_else_of_that_name(stream):
    configure_logging(LogFormat.JSON, stream=stream)
    for number in ("a12345678901234b", "1234567890123456", NATIONAL):
        logging.getLogger("lianfang").info(json.dumps({"event": "request", "id": number}))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["id"] for line in lines] == ["a12345678901234b", "[removed]", "[removed]"]


def test_text_has_one_line_for_one_event(stream):
    configure_logging(LogFormat.TEXT, stream=stream)
    logging.getLogger("lianfang").info(json.dumps({"event": "a\nforged line", "status": 200}))
    (line,) = stream.getvalue().splitlines()
    assert line.endswith("info lianfang a forged line status=200")


def test_a_child_logs_as_its_parent_does(stream):
    program = (
        "import logging\nfrom compliance.operation.logs import configure_as_parent\n"
        "configure_as_parent()\nlogging.getLogger('x').info('A123456789')"
    )
    for form in LogFormat:
        configure_logging(form, stream=stream)
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stderr.startswith("{") == (form is LogFormat.JSON)
        assert "[removed]" in done.stderr


def test_configuring_again_replaces_the_form(stream):
    configure_logging(LogFormat.JSON, stream=stream)
    configure_logging(LogFormat.TEXT, stream=stream)
    logging.getLogger("lianfang").info("once")
    assert stream.getvalue().count("once") == 1
    filters = logging.getLogger("flwr").filters
    assert sum(isinstance(item, RedactingFilter) for item in filters) == 1
