"""The command lines as processes: help at once and without heavy modules, errors in one line."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "flwr", "sklearn", "polars", "scipy", "numpy", "opacus", "grpc", "cryptography")
COMMANDS = ["clients.cli", "server.cli"]
PROBE = """
import sys
from {module} import main
sys.argv = ["x", {arguments} "--help"]
try:
    main()
except SystemExit as ended:
    assert ended.code == 0
print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""


def probed(module, *arguments):
    shown = "".join(f"{argument!r}, " for argument in arguments)
    code = PROBE.format(module=module, arguments=shown, heavy=HEAVY)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("clients.cli", ()),
        ("clients.cli", ("node",)),
        ("clients.cli", ("bench", "train")),
        ("server.cli", ()),
        ("server.cli", ("propose",)),
    ],
)
def test_help_loads_nothing_heavy(module, arguments):
    done = probed(module, *arguments)
    assert "Usage" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [
        ("clients.cli", "node", "join", "NODE", "none.json"),
        ("clients.cli", "bench", "train", "--data", "nowhere"),
        ("server.cli", "approve", "HUB", "none.json"),
        ("server.cli", "propose", "HUB", "spring", "--label-holder", "insurer"),
        ("server.cli", "serve", "HUB"),
        ("server.cli", "run", "HUB", "spring"),
    ],
)
def test_missing_file_is_one_line_and_exit_code_4(tmp_path, command):
    module, *arguments = command
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_json_output_of_the_hub_is_one_object(tmp_path):
    done = subprocess.run(
        [
            sys.executable, "-m", "server.cli", "init", str(tmp_path / "hub"),
            "--link-port", "0", "--fleet-port", "0", "--api-port", "0", "--format", "json",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["hub"] == "lianfang"


@pytest.mark.parametrize("module", COMMANDS)
def test_help_is_there_within_half_a_second(module):
    # Of the processor's time, and the best of some: what else the machine does counts nothing.
    assert min(seconds_of_help(module) for _ in range(5)) < 0.5


def seconds_of_help(module):
    process = subprocess.Popen([sys.executable, "-m", module, "--help"], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime
