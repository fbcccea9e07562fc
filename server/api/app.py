"""The hub's HTTP application: routes, problems and the guard around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi

from protocols.versions import offer
from server.agreements.routes import router as agreements
from server.api.bursts import PARTNER, STRANGER, Bursts, Pace
from server.api.contact import router as contact
from server.api.documents import PROBLEM_SCHEMA
from server.api.guard import MAX_REQUESTS, MAX_REQUESTS_EACH, Guard
from server.api.manners import Manners
from server.api.operations import router as operations
from server.api.parts import Parts
from server.api.problems import ProblemDocument, install_problems
from server.api.retiring import RETIRING, Retirement
from server.api.versions import Wire
from server.enrolment.routes import router as enrolment
from server.log.routes import router as log
from server.lookup.routes import evaluating
from server.lookup.routes import router as lookup
from server.tables.acknowledging import router as acknowledging
from server.tables.routes import router as tables
from server.tokens.barrier import TokenBarrier, require_scope
from server.tokens.routes import router as tokens

TITLE = "Lianfang hub"
API_VERSION = "1"
_DESCRIPTION = (
    "Private lookups against shared fraud reports. Every route but /healthz, /readyz, /v1/jwks, "
    "/v1/enrolment and those below /.well-known needs a partner's client certificate. A request "
    "may show an access token beside it (RFC 8705), which narrows it to some scopes. Every refusal "
    "is a problem document (RFC 9457). No identifier of a person is ever part of a request."
)


def create_app(
    parts: Parts,
    *,
    most: int = MAX_REQUESTS,
    most_each: int = MAX_REQUESTS_EACH,
    partner: Pace = PARTNER,
    stranger: Pace = STRANGER,
    wire: str = offer(),
    retiring: Mapping[str, Retirement] = RETIRING,
) -> FastAPI:
    """Return the application over these services.

    Args:
        most, most_each: requests at a time, in all and of one partner.
        partner, stranger: how fast one caller may ask, with a certificate and without.
        wire: the versions that this hub offers; see `protocols.versions`.
        retiring: operations that will go away, by operation id.
    """
    app = describe_app(retiring)
    app.state.parts = parts
    # The last one is the outermost: every answer gets the guard's headers and its log line.
    app.add_middleware(TokenBarrier)
    app.add_middleware(Manners, retiring=retiring)
    app.add_middleware(Wire, ours=wire)
    app.add_middleware(Bursts, partner=partner, stranger=stranger)
    app.add_middleware(Guard, most=most, most_each=most_each)
    return app


def describe_app(retiring: Mapping[str, Retirement] = RETIRING) -> FastAPI:
    """Return the application without services: enough for its document, and for no request."""
    app = _Api(
        retiring,
        title=TITLE,
        version=API_VERSION,
        description=_DESCRIPTION,
        # The document has a route of its own, for partners.
        openapi_url=None,
        redirect_slashes=False,
        dependencies=[Depends(require_scope)],
    )
    # Acknowledgements before tables: the last part of their path is no version.
    for router in (
        evaluating,
        lookup,
        acknowledging,
        tables,
        agreements,
        enrolment,
        log,
        operations,
        contact,
        tokens,
    ):
        app.include_router(router)
    install_problems(app)
    return app


class _Api(FastAPI):
    """Adds to the document what the framework cannot know: every refusal's problem, and ends."""

    def __init__(self, retiring: Mapping[str, Retirement], **settings: Any) -> None:
        super().__init__(**settings)
        self._retiring = retiring

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            made = get_openapi(
                title=self.title,
                version=self.version,
                description=self.description,
                routes=self.routes,
            )
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            schemas[PROBLEM_SCHEMA] = ProblemDocument.model_json_schema()
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            for methods in made["paths"].values():
                for operation in methods.values():
                    if operation.get("operationId") in self._retiring:
                        operation["deprecated"] = True
            self.openapi_schema = made
        return self.openapi_schema
