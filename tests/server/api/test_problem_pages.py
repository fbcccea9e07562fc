"""Every problem type has its section in docs/problems.md."""

import importlib
import pkgutil
import re
from pathlib import Path

import compliance
import protocols
import server
from server.api import guard, problems
from server.api.meanings import MEANINGS
from server.api.pages import page, problem_types
from server.enrolment import routes
from server.enrolment.service import EnrolmentRefusedError, TooManyRequestsError

DOCS = Path(__file__).resolve().parents[3] / "docs"
CURE = "python -m server.api.pages > docs/problems.md"


def kinds():
    """Every exception class of the hub that a line of the table answers."""
    for package in (protocols, compliance, server):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            # What trains runs beside the API, never behind it, and takes long to load.
            # A migration is run by Alembic alone, and cannot be imported beside it.
            if not module.name.startswith("server.training") and ".migrations" not in module.name:
                importlib.import_module(module.name)
    waiting, found = list(problems.PROBLEMS), set()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.partition(".")[0] in {"protocols", "compliance", "server"}:
            found.add(kind)
    return found


def test_page_is_current():
    assert (DOCS / "problems.md").read_text() == page(), CURE


def test_every_exception_that_is_answered_has_its_section():
    types = problem_types()
    for kind in kinds() - {EnrolmentRefusedError, TooManyRequestsError}:
        problem = problems.problem_of(kind)
        code = problem.code or kind.code
        assert code in types, kind
        assert types[code].status == problem.status, kind
    assert set(MEANINGS) == set(types)


def test_what_routes_answer_themselves_is_described_as_it_is():
    types = problem_types()
    for code, answered in {
        guard.REVOKED_CODE: guard._REVOKED,
        EnrolmentRefusedError.code: routes._REFUSED,
        TooManyRequestsError.code: routes._TOO_MANY,
    }.items():
        assert (types[code].status, types[code].title) == (answered.status, answered.title)


def test_every_code_that_the_protocol_page_lists_is_described():
    rows = re.findall(r"^\| (\d{3})[\d, ]* \| (.+) \|$", (DOCS / "protocol.md").read_text(), re.M)
    assert len(rows) > 8
    named = {code for _, text in rows for code in re.findall(r"`([a-z_]+)`", text)}
    assert named - set(MEANINGS) <= {"current_version", "holder"}


def test_no_title_or_text_has_a_value_of_anybody():
    for problem in problem_types().values():
        assert problem.title.endswith(".")
        assert 400 <= problem.status < 600
