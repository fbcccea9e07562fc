"""Error pages in the reader's language, and problems (RFC 9457) for programs that ask for JSON."""

from __future__ import annotations

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from compliance.web.errors import STATUSES, PageError, status_of
from compliance.web.visit import Visit

MEDIA_TYPE = "application/problem+json"
_URN = "urn:lianfang:problem:"
_OF_FRAMEWORK = {404: "not_found", 405: "method_not_allowed"}
_NOT_ALLOWED = 405


def answer_error(visit: Visit, error: Exception) -> Response:
    """Answer what a page raised; what nobody foresaw is an internal error."""
    wait_s = 0
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        status, code = error.status_code, _OF_FRAMEWORK.get(error.status_code, "bad_request")
        headers = dict(error.headers or {}) if status == _NOT_ALLOWED else {}
    else:
        status, code = status_of(error)
        wait_s = error.retry_after_s if isinstance(error, PageError) else 0
    return answer_status(visit, status, code, wait_s=wait_s, headers=headers)


def answer_status(
    visit: Visit,
    status: int,
    code: str,
    *,
    wait_s: int = 0,
    headers: dict[str, str] | None = None,
) -> Response:
    """Answer with a status; says what the reader can do, and nothing of what went wrong within."""
    shown = status if status in STATUSES else 400
    fields = {"Retry-After": str(wait_s)} if wait_s else {}
    fields |= headers or {}
    if visit.wants_json:
        return Response(_problem(visit, shown, code), status, fields, MEDIA_TYPE)
    values: dict[str, Any] = {"status": status, "wait_s": wait_s, "key": f"error.{shown}"}
    text = visit.site.renderer.render(visit, "error.html", **values)
    response = HTMLResponse(text, status, fields)
    if visit.is_new:
        visit.site.cookies.put_browser(response, visit.secret)
    return response


def _problem(visit: Visit, status: int, code: str) -> bytes:
    value = {
        "type": _URN + code,
        "title": visit.text(f"error.{status}.title"),
        "status": status,
        "code": code,
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
