"""Help comes at once: no command of the officer loads what it does not use."""

import subprocess
import sys

import pytest

PROBE = """
import sys
from clients.audit.cli import app
try:
    app([{arguments} "--help"])
except SystemExit as ended:
    assert ended.code == 0
heavy = ("cedarpy", "cryptography", "numpy", "polars", "torch", "flwr", "grpc")
print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""


COMMANDS = [
    (), ("incident",), ("incident", "open"), ("alarm", "settle"), ("integrity",),
    ("agreement",), ("agreement", "draft"), ("replay",), ("verify",), ("search",),
    ("disclosures",), ("statement",), ("alarms",), ("export",), ("witness",),
]  # fmt: skip


@pytest.mark.parametrize("arguments", COMMANDS)
def test_help_loads_nothing_heavy(arguments):
    code = PROBE.format(arguments="".join(f"{item!r}, " for item in arguments))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert done.stderr.strip() == "[]"
