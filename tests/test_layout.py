"""What holds for the whole tree: where things live, and what no committed file may say."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path
    for folder in ("clients", "compliance", "protocols", "server")
    for path in (ROOT / folder).rglob("*.py")
)
MAX_LINES = 450
# A pure protocol may not even name what reads a clock, a disk or global randomness.
IMPURE = re.compile(
    r"\b(?:datetime\.now|time\.time|np\.random\.(?!Generator)|torch\.manual_seed)\b"
)
# Words that would mean a machine or an unfinished thought was committed.
FORBIDDEN = re.compile(r"(?<![a-z])/(?:home|root|work)/\w|\bTODO\b|\bFIXME\b|\bXXX\b")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_says_what_it_is_and_stays_short(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "needs a module docstring"
    assert text.count("\n") <= MAX_LINES


@pytest.mark.parametrize(
    "path", sorted((ROOT / "protocols").rglob("*.py")), ids=lambda path: path.name
)
def test_protocols_are_pure(path):
    assert not IMPURE.search(path.read_text())


def test_committed_files_name_no_machine_and_no_open_end():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in filter(None, listed):
        path = ROOT / name
        if path == Path(__file__) or path.suffix in {".lock", ".svg", ".png"} or not path.is_file():
            continue
        found = FORBIDDEN.search(path.read_text(errors="ignore"))
        assert found is None, f"{name}: {found and found.group()}"


def test_valid_national_ids_occur_in_tests_alone():
    shape = re.compile(r"\b[A-Z][12]\d{8}\b")
    for path in [*SOURCES, *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        assert not shape.search(path.read_text()), path.name
