"""The one way in which this package joins fields before it signs, derives or authenticates."""

from __future__ import annotations

PLAN_HASH_SIZE = 32


def join_fields(*fields: bytes) -> bytes:
    """Join fields, each behind its length (u32), so that no two lists give the same bytes."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)
