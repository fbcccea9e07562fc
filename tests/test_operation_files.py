"""The files that operators copy name commands and options that exist, and hold together."""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import click
import pytest
import typer

from clients.cli import app as partner_app
from server.cli import app as hub_app

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "operation"
UNITS = sorted((FOLDER / "systemd").iterdir())
PROGRAMS = {
    "lianfang": typer.main.get_command(partner_app),
    "lianfang-hub": typer.main.get_command(hub_app),
}


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    command, rest = PROGRAMS[words[0]], words[1:]
    while isinstance(command, click.Group) and rest:
        assert rest[0] in command.commands, f"no such command: {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.suffix == ".service"], ids=str)
def test_services_call_commands_that_exist(unit):
    found = re.findall(r"(?:/opt/lianfang/bin/)(lianfang(?:-hub)? [^\n']*)", unit.read_text())
    assert found
    for line in found:
        command, rest = command_of(shlex.split(line.partition('"')[0]))
        known = {name for option in command.params for name in option.opts}
        assert {word for word in rest if word.startswith("--")} <= known, line


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_units_are_understood_by_systemd(unit, tmp_path):
    # What is not installed here is put there, so that only the unit itself is judged.
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / unit.name.replace("@", "@9455")
    text = re.sub(r"/opt/lianfang/bin/lianfang(?:-hub)?", str(program), unit.read_text())
    copy.write_text(re.sub(r"(?m)^Documentation=.*\n", "", text))
    if unit.suffix == ".timer":
        shutil.copy(unit.with_suffix(".service"), tmp_path)
    said = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    faults = [line for line in said.stderr.splitlines() if copy.name in line]
    assert faults == []


def test_image_copies_what_the_wheel_is_made_of():
    text = (FOLDER / "Containerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(re.findall(r"(?m)^COPY (\w+) \1$", text)) == sorted(packages)
    for name in re.findall(r"(?m)^COPY ([^-][^\n]*) \./$", text):
        assert all((ROOT / file).is_file() for file in name.split())
    torch = next(item for item in project["project"]["dependencies"] if item.startswith("torch"))
    assert f'"{torch}"' in text


def test_lock_for_operation_pins_the_same_versions_without_what_developers_need():
    def pins(name: str) -> dict[str, str]:
        return dict(
            re.findall(r"(?m)^([a-z0-9._-]+(?:\[[a-z,]+\])?)==(\S+)", (ROOT / name).read_text())
        )

    every, operation = pins("requirements.lock"), pins("requirements-operation.lock")
    assert operation.items() <= every.items()
    assert "pytest" not in operation
    assert "uv" not in every  # Flower would install with it what an app asks for
    assert "fastapi" in operation
