"""The incident file: what happened, whom it must be told within which time, and what was done."""
