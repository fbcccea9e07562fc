"""Pure protocol code: bytes and values in, bytes and values out.

Nothing here reads a clock, a disk, a network, a log or global randomness; time and
randomness are arguments. The import contract in `pyproject.toml` enforces it.
"""
