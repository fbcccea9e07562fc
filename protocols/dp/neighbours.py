"""Between which two tables a privacy promise holds.

An epsilon without its relation means nothing: replacing a person is about twice as far
as removing one. The relation is therefore a type that every price names, and prices
under different relations are refused together.
"""

from __future__ import annotations

from enum import Enum


class Neighbours(Enum):
    """How two neighbouring tables differ; the values stand in the log and never change."""

    ZERO_OUT_ONE_PERSON = "zero_out_one_person"
    """All rows of one person are replaced by zeros; sizes are public. This project's default."""

    ADD_OR_REMOVE_ONE = "add_or_remove_one"
    """All rows of one person are there or not; sizes are secret."""

    REPLACE_ONE = "replace_one"
    """All rows of one person become any other person's; sizes are public."""
