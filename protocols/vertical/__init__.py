"""Vertical training: one model over columns that never leave their owners."""
