"""Whom to tell of a weakness of this hub: /.well-known/security.txt (RFC 9116).

Served without a certificate, since whoever finds a weakness seldom has one. The contact is the
operator's; without one there is no such file.
"""

from __future__ import annotations

from fastapi import APIRouter, Response

from server.api.documents import refusals
from server.api.errors import NotFoundError
from server.api.parts import Services
from server.contact import security_text

router = APIRouter(tags=["operations"])


@router.get(
    "/.well-known/security.txt",
    operation_id="securityContact",
    response_class=Response,
    responses={
        200: {
            "description": "The file of RFC 9116.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **refusals(404),
    },
)
def security_contact(parts: Services) -> Response:
    """Tell whom to write to about a weakness; needs no certificate."""
    if not parts.contact:
        raise NotFoundError("security.txt: this hub names no contact")
    return Response(security_text(parts.contact, parts.clock.now()), media_type="text/plain")
