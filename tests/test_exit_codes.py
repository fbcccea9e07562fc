"""One exit code for one meaning in both programs, and a page that says so of every command."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import click
import pytest
import typer

import clients
import clients.output
import compliance
import protocols
import server
import server.output
from clients.cli import app as partner_app
from compliance.commands import output as shared
from compliance.errors import LogCorruptError, NotPermittedError
from compliance.exits import COMMANDS, MEANINGS, Exit, exit_of, page
from server.cli import app as hub_app

DOCS = Path(__file__).resolve().parent.parent / "docs"
PROGRAMS = {"lianfang": partner_app, "lianfang-hub": hub_app}
# What never reaches a command's end, and who takes it.
TAKEN = {
    "_Fault": "ends in a report",
    "_TroubleError": "becomes a line above the form of the desk",
    "_FieldError": "becomes a defect of a line",
    "ApiError": "becomes a problem of the API",
    "DeadlineError": "becomes the reply of a phase",
    "DefectError": "becomes a defect of a line",
    "HolderRefusedError": "becomes a problem of the API, or a line of a key set-up",
    "PageError": "becomes a page",
    "NotKeptError": "becomes a problem of the API",
    "RefusedError": "becomes a frame of the standing link",
    "RoundVoidError": "becomes the replies of a phase",
    "RunEndedError": "becomes the state of a run",
    "SetupFailedError": "becomes the result of a key set-up",
    "VersionConflictError": "becomes a problem of the API",
}


def leaves():
    def walk(name, command):
        if isinstance(command, click.Group):
            for word, part in command.commands.items():
                yield from walk(f"{name} {word}", part)
        else:
            yield name, command

    for name, app in PROGRAMS.items():
        yield from walk(name, typer.main.get_command(app))


LEAVES = dict(leaves())


def codes_of(command):
    """Return the names of the codes with which a command's own code, and what it calls, ends."""
    function = inspect.unwrap(command.callback)
    tree = ast.parse(Path(inspect.getsourcefile(function)).read_text())
    functions = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    waiting, seen, found = [function.__name__], set(), set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in ast.walk(functions[name]):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called == "typer.Exit":
                found |= {ast.unparse(part) for part in ends(node.args[0])}
            waiting.append(called)
    return found


def ends(expression):
    if isinstance(expression, ast.IfExp):
        return [*ends(expression.body), *ends(expression.orelse)]
    return [expression]


def value_of(text):
    """Return the code that a name or number in a command stands for."""
    if text.isdigit():
        return Exit(int(text))
    if text.startswith("Exit."):
        return Exit[text.removeprefix("Exit.")]
    return getattr(shared, text)


def test_page_is_current():
    cure = "python -m compliance.exits > docs/exit-codes.md"
    assert (DOCS / "exit-codes.md").read_text() == page(), cure


def test_every_code_has_its_meaning():
    assert set(MEANINGS) == set(Exit)
    for means, cure, _ in MEANINGS.values():
        assert means.endswith(".")
        assert cure.endswith(".")


@pytest.mark.parametrize("name", LEAVES)
def test_what_a_command_ends_with_stands_on_the_page(name):
    used = {text for text in codes_of(LEAVES[name]) if not text.startswith("examined.")}
    assert {value_of(text) for text in used} - {Exit.DONE} <= set(COMMANDS.get(name, {}))


def test_page_names_no_command_that_is_not_there():
    assert set(COMMANDS) <= set(LEAVES)


def test_programs_mean_the_same_by_a_code():
    told = {name: value for name, value in vars(shared).items() if name.startswith("EXIT_")}
    assert told
    assert all(Exit[name.removeprefix("EXIT_")] is value for name, value in told.items())
    for module in (clients.output, server.output):
        assert module.explain(NotPermittedError("evaluate: denied")) is Exit.REFUSED
        assert module.explain(LogCorruptError("log: torn")) is Exit.FAILED


def kinds():
    for package in (protocols, compliance, server, clients):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            # A migration is run by Alembic alone, and cannot be imported beside it.
            if not module.name.endswith("__main__") and ".migrations" not in module.name:
                importlib.import_module(module.name)
    roots = ("protocols", "compliance", "server", "clients")
    waiting, found = [BaseException], {}
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.partition(".")[0] in roots:
            found[kind] = kind.__module__.partition(".")[0]
    return found


def instance(kind):
    made = kind.__new__(kind)
    BaseException.__init__(made, "subject: rule")
    return made


def test_every_error_that_a_command_may_meet_has_its_code():
    for kind, root in kinds().items():
        if any(base.__name__ in TAKEN for base in kind.__mro__):
            continue
        for name, module in (("server", server.output), ("clients", clients.output)):
            if root in {"protocols", "compliance", name}:
                try:
                    assert module.explain(instance(kind)) in Exit
                except kind:
                    pytest.fail(f"{kind.__module__}.{kind.__name__}: {name} has no code for it")


def test_unknown_error_is_not_hidden_behind_a_code():
    assert exit_of(ZeroDivisionError()) is None
    for module in (clients.output, server.output):
        with pytest.raises(ZeroDivisionError):
            module.explain(ZeroDivisionError())


def test_codes_are_written_as_names():
    for package in (clients, server):
        for path in Path(package.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "typer.Exit":
                    numbers = [p.value for p in ends(node.args[0]) if isinstance(p, ast.Constant)]
                    assert set(numbers) <= {0}, path
