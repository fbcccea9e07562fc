"""What the pages say must be so: commands, links, samples and formulas are tried, not trusted."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import click
import pytest
import typer

from clients.cli import app as partner_app
from clients.node import home, policy
from clients.node.joining import DEFAULT_POLICY
from clients.node.policy import Policy
from protocols.dp.events import Gaussian, event_fields
from protocols.vertical.contract import Contract
from server.cli import app as hub_app
from server.training.proposal import Choices, propose
from server.training.releases import spent_epsilon

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
FIRST = [README, ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"]
PAGES = FIRST + sorted((ROOT / "docs").rglob("*.md"))
PROGRAMS = {
    "lianfang": typer.main.get_command(partner_app),
    "lianfang-hub": typer.main.get_command(hub_app),
}
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(
    r"(?:\$ )?(?:\.venv/bin/)?(lianfang(?:-hub)?(?: .*?)?)(?: (?:<|>|\||&&|&).*)?$"
)
# Spelled apart, so that this file may be searched for the same words.
FORBIDDEN = re.compile("|".join(
    (r"\bTO" r"DO\b", r"\bFIX" r"ME\b", r"\bX" r"XX\b", r"\bTB" r"D\b",
     "/wo" "rk/", "/tm" "p/", "/ho" "me/", "/ro" "ot/", "/Us" "ers/"),
))  # fmt: skip


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def spans(page: Path) -> list[str]:
    """Return what stands in back quotes, whichever way its paragraph was broken into lines."""
    return SPAN.findall(re.sub(r"(?<!\n)\n(?!\n)", " ", prose(page)))


def block(page: Path, info: str) -> str:
    """Return the one fenced block of a page with this info string."""
    (text,) = [text for found, text in FENCE.findall(page.read_text()) if found == info]
    return text


def fenced_commands(page: Path) -> list[str]:
    lines = [
        line
        for info, text in FENCE.findall(page.read_text())
        if info in {"sh", "console"}
        for line in text.replace("\\\n", " ").splitlines()
    ]
    return [found.group(1) for line in lines if (found := COMMAND.match(line.strip()))]


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """Walk down to the command that the words name; return it with the words that are left."""
    command, rest = PROGRAMS[words[0]], words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no such command: {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def options(command: click.Command) -> set[str]:
    return {opt for param in command.params for opt in param.opts} | {"--help"}


def leaves(command: click.Command) -> dict[str, click.Command]:
    if not isinstance(command, click.Group):
        return {command.name or "": command}
    return {
        f"{command.name} {name}": leaf
        for part in command.commands.values()
        for name, leaf in leaves(part).items()
    }


LEAVES = {name: leaf for program in PROGRAMS.values() for name, leaf in leaves(program).items()}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_fenced_commands_parse(page):
    for line in fenced_commands(page):
        command, rest = resolve(shlex.split(line))
        if "--help" in rest:
            rest.remove("--help")
            assert not rest, line
            continue
        assert not isinstance(command, click.Group), f"{line}: names no command"
        try:
            command.make_context(line, rest)
        except click.UsageError as error:
            pytest.fail(f"{line}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_in_the_text_exist(page):
    known = set().union(*(options(leaf) for leaf in LEAVES.values()))
    for span in spans(page):
        words = span.split()
        if words and words[0] in PROGRAMS:
            command, rest = resolve(words)
            unknown = {word for word in rest if word.startswith("-")} - options(command)
            assert not unknown, f"{span}: {unknown}"
        elif span.startswith("--"):
            assert words[0] in known, span


def test_readme_names_every_command():
    words = {word for span in spans(README) for word in span.split()}
    assert {name.split()[-1] for name in LEAVES} <= words


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_resolve(page):
    for target in LINK.findall(prose(page)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        if anchor:
            assert anchor in slugs(found), target


def slugs(page: Path) -> set[str]:
    """Return the anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def test_readme_links_every_page():
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in LINK.findall(prose(README))}
    missing = [named(page) for page in PAGES if page != README and page not in linked]
    assert not missing


def test_every_figure_is_linked_from_a_page():
    linked = {
        (page.parent / target).resolve() for page in PAGES for target in LINK.findall(prose(page))
    }
    files = {path for path in (ROOT / "docs").rglob("*") if path.is_file()}
    assert files - set(PAGES) <= linked


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_pages_name_no_machine_and_no_open_end(page):
    found = FORBIDDEN.search(page.read_text())
    assert found is None, found and found.group()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_figure_is_left_out(page):
    assert "<!-- figure" not in page.read_text()


def test_changelog_keeps_its_form():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    kinds = re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_sample_policy_is_the_one_that_init_writes():
    sample = json.loads(block(ROOT / "docs/operator.md", "json policy.json"))
    assert sample == DEFAULT_POLICY
    Policy.parse(sample)


def test_sample_contract_holds_together():
    sample = json.loads(block(ROOT / "docs/operator.md", "json contract.json"))
    assert Contract.parse(sample).format() == sample


def test_every_field_of_the_configuration_is_explained():
    explained = set(spans(ROOT / "docs/operator.md"))
    assert explained >= home._FIELDS
    assert explained >= policy._FIELDS


def run_block(page: str, info: str, folder: Path, monkeypatch, *arguments: str) -> None:
    """Run a fenced program of a page as a reader would."""
    script = folder / "from-the-page.py"
    script.write_text(block(ROOT / page, info))
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    runpy.run_path(str(script), run_name="__main__")


def test_epsilon_follows_from_a_record_without_our_code(tmp_path, monkeypatch, capsys):
    """Three partners, as in a run: own releases add up, a step counts once."""
    steps = [(f"train/step/{step}/attempt/1", Gaussian(40.0)) for step in range(60)]
    means = [("encoder/means/attempt/1", Gaussian(60.0))]
    charges = {
        "insurer": [("labels/counts/attempt/1", Gaussian(55.0)), *steps],
        "telecom": means + steps,
        "police": means + steps,
    }
    releases = {
        name: [{"label": label, "event": event_fields(event)} for label, event in paid]
        for name, paid in charges.items()
    }
    plan = sample_plan()
    record = {"privacy": {"releases": releases, "delta": plan.delta}}
    (tmp_path / "record.json").write_text(json.dumps(record))
    run_block(
        "docs/compliance.md", "python recompute.py", tmp_path, monkeypatch,
        str(tmp_path / "record.json"),
    )  # fmt: skip
    printed = float(capsys.readouterr().out)
    assert printed == pytest.approx(spent_epsilon(plan, releases), abs=2e-6)
    assert 0.5 < printed < 2


def sample_plan():
    numeric = {"name": "x", "kind": "numeric", "low": 0, "high": 9, "missing": False}
    identifier = {"column": "id", "kind": "opaque"}
    partners = {
        name: {
            "identity": letter * 64,
            "contract": {"identifier": identifier, "label": label, "columns": [numeric]},
        }
        for name, letter, label in (
            ("insurer", "a", "y"), ("telecom", "b", None), ("police", "c", None),
        )
    }  # fmt: skip
    choices = Choices("spring", "purpose", 1.0, 1e-5, "insurer", columns={})
    return propose(choices, partners)


def test_sample_program_runs(tmp_path, monkeypatch):
    run_block("docs/developer.md", "python program.py", tmp_path, monkeypatch)
