"""A hub of an earlier version: its files are taken over once, and nothing of them is lost."""

import json

import pytest

from compliance.errors import LogCorruptError
from compliance.journal import Journal
from server.keeping.place import keeping_of
from server.keeping.takeover import take_over

PARTNER = {"name": "police", "identity": "00", "flower_public": "", "contract": {}}


@pytest.fixture
def old(hub):
    """The files of an earlier version, as far as they are taken over."""
    root = hub.root
    files = {
        "partners/police.json": json.dumps(PARTNER),
        "partners/.police.json.5f": "cut off",
        "enrolment/" + "a" * 32 + ".json": "{}",
        "agreements/" + "b" * 64 + ".json": "agreement",
        "agreements/profiles/" + "c" * 64 + ".json": "profile",
        "agreements/sent/" + "b" * 64 + ".police": "",
        "policies/current": "d" * 64,
        "documents/" + "e" * 64 + ".json": "plan",
        "authority/revoked.crl": "list",
        "authority/issued.jsonl": '\n{"serial": "ab", "name": "police", "at": 1, "until": 2}\n{"se',
        "holder/contributors.json": '{"police": 1}',
        "holder/delivered.json": '{"end-1": []}',
        "tables/1/police/acknowledgements/insurer.signed": "signed",
        "tables/1/police/acknowledgements/lock": "",
        "tables/1/police/1.table": "records",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    journal = Journal(root / "holder" / "book.journal")
    with journal.exclusive():
        for record in (b"first", b"second"):
            journal.append(record)
    journal.close()
    return root


def test_all_of_it_is_taken_over(old, other):
    take_over(old, other.database, "holder/book")
    kept = {
        folder: dict(other.documents(folder).all())
        for folder in ("partners", "agreements", "policies", "documents", "revoked", "epochs")
    }
    assert json.loads(kept["partners"].pop("police.json")) == PARTNER
    assert kept == {
        "partners": {},
        "agreements": {
            f"{'b' * 64}.json": b"agreement",
            f"profiles/{'c' * 64}.json": b"profile",
            f"sent/{'b' * 64}.police": b"",
        },
        "policies": {"current": b"d" * 64},
        "documents": {f"{'e' * 64}.json": b"plan"},
        "revoked": {"revoked.crl": b"list"},
        "epochs": {"contributors.json": b'{"police": 1}', "delivered.json": b'{"end-1": []}'},
    }
    assert list(other.documents("issued").all()) == ["ab"]
    assert other.documents("enrolment").names() == ["a" * 32 + ".json"]
    assert dict(other.documents("acknowledgements").all()) == {"1/police/insurer.signed": b"signed"}
    with other.book().exclusive() as records:
        assert records == [b"first", b"second"]


def test_files_are_moved_and_tables_and_keys_stay(old, other):
    take_over(old, other.database, "holder/book")
    there = {path.relative_to(old).as_posix() for path in old.rglob("*") if path.is_file()}
    assert "taken-over/partners/police.json" in there
    assert "taken-over/holder/book.journal" in there
    assert {"tables/1/police/1.table", "authority/ca.key", "identity.key"} <= there
    gone = {"partners/police.json", "authority/revoked.crl", "authority/issued.jsonl"}
    assert not gone & there


def test_what_the_database_has_is_not_replaced(old, other):
    other.documents("policies").put("current", b"newer")
    book = other.book()
    with book.exclusive():
        book.append(b"newer")
    take_over(old, other.database, "holder/book")
    assert other.documents("policies").get("current") == b"newer"
    with other.book().exclusive() as records:
        assert records == [b"newer"]


class Killed(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("where", ["_take_book", "_move"])  # before the commit, and after it
def test_crash_in_the_middle_is_made_up_for(old, other, monkeypatch, where):
    def dies(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(f"server.keeping.takeover.{where}", dies)
        with pytest.raises(Killed):
            take_over(old, other.database, "holder/book")
    assert (old / "partners" / "police.json").exists()
    assert bool(other.documents("partners").names()) is (where == "_move")
    take_over(old, other.database, "holder/book")
    take_over(old, other.database, "holder/book")
    assert other.documents("partners").names() == ["police.json"]
    with other.book().exclusive() as records:
        assert records == [b"first", b"second"]
    assert not (old / "partners").exists()


def test_opening_the_hub_takes_over(old, hub):
    assert keeping_of(hub.root).partners.find("police") == PARTNER
    assert hub.known() == {"police": PARTNER}
    assert not (old / "partners").exists()


def test_damaged_book_stops_it_and_moves_nothing(old, other):
    path = old / "holder" / "book.journal"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogCorruptError):
        take_over(old, other.database, "holder/book")
    assert (old / "partners" / "police.json").exists()
    assert other.documents("partners").names() == []
