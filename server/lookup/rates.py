"""The quota of an epoch as HTTP fields.

Specification: draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4 (RateLimit-Policy
and RateLimit); RFC 9110, section 10.2.3 (Retry-After).
"""

from __future__ import annotations

from server.lookup.service import Usage

_POLICY = "epoch"


def rate_headers(usage: Usage, now: int) -> dict[str, str]:
    """Return what a caller is told of its quota with every answer."""
    left, resets_s = max(usage.quota - usage.used, 0), max(usage.resets_at - now, 0)
    return {
        "RateLimit-Policy": f'"{_POLICY}";q={usage.quota};w={usage.period_s}',
        "RateLimit": f'"{_POLICY}";r={left};t={resets_s}',
    }


def retry_header(usage: Usage, now: int) -> dict[str, str]:
    """Return when there will be a new quota: with the next epoch."""
    return {"Retry-After": str(max(usage.resets_at - now, 1))}
