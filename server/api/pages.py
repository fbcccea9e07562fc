"""docs/problems.md: `python -m server.api.pages > docs/problems.md`.

One section for each problem type that an answer of the API can name, made from the tables that
answer. Status and title are never written a second time; what a type means, and what to do about
it, stands in `server.api.meanings`. A test walks all exceptions and compares the page, so that no
type is without its section. How commands end stands in docs/exit-codes.md.
"""

from __future__ import annotations

import sys

from compliance.backup.settled import RestoredError
from compliance.errors import BudgetExhaustedError, LogConflictError
from compliance.incidents.errors import IncidentError
from compliance.log.alarms import UnknownAlarmError
from compliance.log.errors import (
    EntryPrunedError,
    NotWitnessedError,
    PartErasedError,
    UnknownPartError,
)
from compliance.policy.errors import PolicyError
from compliance.rights.errors import (
    CaseErasedError,
    LegalHoldError,
    StoreWaitsError,
    UnknownCaseError,
)
from compliance.staff.errors import CredentialsError, StaffError
from protocols.align.errors import AlignmentRefusedError
from protocols.errors import InvalidTableError, OutOfTurnError
from protocols.identifiers import InvalidIdentifierError
from protocols.oprf.errors import RogueHolderError, WrongShareError
from protocols.tlog.errors import NotCosignedError
from server.api import problems
from server.api.guard import REVOKED_CODE
from server.api.meanings import MEANINGS
from server.api.problems import Problem, problem_of
from server.enrolment.service import EnrolmentRefusedError
from server.tokens.errors import GrantTypeError, ScopeError

# Answered by the line of a class above them, under their own code.
_BELOW: tuple[type[Exception], ...] = (
    AlignmentRefusedError,
    BudgetExhaustedError,
    CaseErasedError,
    CredentialsError,
    EntryPrunedError,
    GrantTypeError,
    IncidentError,
    InvalidIdentifierError,
    InvalidTableError,
    LegalHoldError,
    LogConflictError,
    NotCosignedError,
    NotWitnessedError,
    OutOfTurnError,
    PartErasedError,
    PolicyError,
    RestoredError,
    RogueHolderError,
    ScopeError,
    StaffError,
    StoreWaitsError,
    UnknownAlarmError,
    UnknownCaseError,
    UnknownPartError,
    WrongShareError,
)
# Answered where they arise, and not by the table of exceptions.
_ELSEWHERE = {
    REVOKED_CODE: Problem(403, "This partner was revoked."),
    EnrolmentRefusedError.code: Problem(403, "The invitation is not accepted."),
}
_HEAD = """\
# Problems: what the hub refuses, and what to do

<!-- Made by `python -m server.api.pages > docs/problems.md`; a test compares it. -->

Every refusal of the hub's API is a document of the type `application/problem+json` (RFC 9457) with
`type`, `title`, `status` and `code`, and with `detail` where the caller can mend something. `type`
is `urn:lianfang:problem:` and the code. Programs go by the code; title and detail are for people
and may change. An answer carries `X-Request-Id`, under which the operator of the hub finds it in
its log, unless the request could not be read at all. What may succeed later has `Retry-After`.
How commands end is told in [exit-codes.md](exit-codes.md).
"""


def problem_types() -> dict[str, Problem]:
    """Return every problem type by its code, with its status and title."""
    found = dict(_ELSEWHERE)
    tables = (problems.OF_FRAMEWORK.values(), problems.BEFORE_ROUTES)
    for problem in (problems.INTERNAL, problems.PARAMETERS, *tables[0], *tables[1]):
        found[str(problem.code)] = problem
    for kind in (*problems.PROBLEMS, *_BELOW):
        problem = problem_of(kind)
        found.setdefault(problem.code or str(getattr(kind, "code", "bad_request")), problem)
    return found


def page() -> str:
    """Return the whole page as text, the same on every machine."""
    types = problem_types()
    lines = [_HEAD]
    for code, problem in sorted(types.items(), key=lambda item: (item[1].status, item[0])):
        means, cure = MEANINGS[code]
        lines.append(
            f"\n## {code}\n\n`urn:lianfang:problem:{code}`, status {problem.status}: "
            f"{problem.title}\n\n{means}\n\n**What to do.** {cure}\n"
        )
    return "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
