"""The program that the developer's page shows runs as it stands there."""

import io
import re
import runpy
import sys
from pathlib import Path

from compliance.clock import SystemClock
from protocols.identifiers import IdentifierKind

PAGE = Path(__file__).parents[3] / "docs" / "developer.md"
NUMBER = "0912-345-678"


def test_sample_program_of_the_developers_page_runs(town, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(SystemClock, "now", lambda _self: town.clock.now())
    town.publish([(IdentifierKind.PHONE, NUMBER, {})])
    town.publish(contributor="telecom")
    (found,) = re.findall(r"```python desk\.py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    program = tmp_path / "desk.py"
    program.write_text(found)
    home = town.home()
    monkeypatch.setattr(sys, "argv", [str(program), str(home.root), "C-2026-118"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(NUMBER + "\n"))
    runpy.run_path(str(program), run_name="__main__")
    said = capsys.readouterr().out
    assert "紅燈" in said
    assert "D-000001/" in said
    assert NUMBER not in said
