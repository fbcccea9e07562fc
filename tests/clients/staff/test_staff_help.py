"""Help comes at once: no command of the staff loads what it does not use."""

import subprocess
import sys

import pytest

PROBE = """
import sys
from {module} import app
for words in {commands}:
    try:
        app([*words, "--help"])
    except SystemExit as ended:
        assert ended.code == 0
heavy = ("cedarpy", "cryptography", "numpy", "polars", "torch", "flwr", "grpc", "sqlalchemy")
print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""

BOTH = ["add", "list", "grant", "suspend", "password", "agree", "decline", "waiting"]
CASES = [("clients.staff.cli", [*BOTH, "emergency", "review"]), ("server.cli_staff", BOTH)]


@pytest.mark.parametrize(("module", "commands"), CASES)
def test_help_loads_nothing_heavy(module, commands):
    words = [[], *([name] for name in commands)]
    code = PROBE.format(module=module, commands=words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("Usage") == len(words)
    assert done.stderr.strip() == "[]"
