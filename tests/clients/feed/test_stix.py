"""STIX 2.1 bundles, made by the library and by hand."""

import json

import pytest
import stix2

from clients.feed.intake import open_input, take_in
from clients.feed.patterns import read_pattern
from clients.feed.reports import Report
from clients.feed.stix import stix_rows
from protocols.errors import InvalidTableError
from protocols.identifiers import IdentifierKind, canonicalize
from protocols.lookup.payload import Category, Slot, SourceClass, Status, Use

BANK = stix2.Identity(name="A bank", identity_class="organization", sectors=["financial-services"])


def indicator(pattern, **changes):
    fields = {
        "pattern": pattern, "pattern_type": "stix", "labels": ["mule-account"],
        "valid_from": "2026-09-30T16:00:00Z",
    } | changes  # fmt: skip
    return stix2.Indicator(**fields)


def read(town, bundle):
    data = bundle if isinstance(bundle, bytes) else bundle.serialize().encode()
    return list(stix_rows(data, town.home.settings().defaults(town.clock.now())))


def test_bundle_of_the_library_is_read(town, ids):
    first = indicator(
        f"[x-tw-national-id:value = '{ids(1)}' OR email-addr:value = 'a@example.tw']",
        confidence=85, created_by_ref=BANK.id, valid_until="2027-03-01T00:00:00Z",
    )  # fmt: skip
    second = indicator(
        "[user-account:account_type = 'line' AND user-account:account_login = 'shop.tw']",
        labels=["victim", "loan"],
    )
    third = indicator("[x-phone-number:value = '0912-345-678']", labels=["job", "use-screening"])
    sighting = stix2.Sighting(
        sighting_of_ref=third.id, first_seen="2026-10-01T00:00:00Z",
        last_seen="2026-11-02T00:00:00Z",
    )  # fmt: skip
    rows = read(town, stix2.Bundle(BANK, first, second, third, sighting))
    assert [row for row, _ in rows] == [2, 3, 4]
    found = [one for _, reports in rows for one in reports]
    assert all(isinstance(one, Report) for one in found)
    person, mail, line, phone = found
    assert person.canonical == canonicalize(IdentifierKind.TW_NATIONAL_ID, ids(1))
    assert mail.canonical == canonicalize(IdentifierKind.EMAIL, "a@example.tw")
    assert (person.report_id, person.status) == (first.id, Status.CONFIRMED)
    assert (person.source, person.category) == (SourceClass.BANK, Category.MULE_ACCOUNT)
    assert (person.first, person.last, person.until) == (321, 321, 326)
    assert (line.slot, line.use, line.status) == (Slot.VICTIM, Use.CARE, None)
    assert line.source is SourceClass.POLICE
    assert (phone.last, phone.use) == (322, Use.SCREENING)


def test_report_speaks_for_indicators_that_state_nothing(town, ids):
    plain = indicator(f"[x-tw-national-id:value = '{ids(1)}']", labels=None)
    own = indicator(f"[x-tw-national-id:value = '{ids(2)}']", confidence=10)
    report = stix2.Report(
        name="r", published="2026-10-01T00:00:00Z", object_refs=[plain.id, own.id],
        confidence=90, labels=["romance"],
    )  # fmt: skip
    (_, (one,)), (_, (two,)) = read(town, stix2.Bundle(plain, own, report))
    assert (one.category, one.status) == (Category.ROMANCE, Status.CONFIRMED)
    assert (two.category, two.status) == (Category.MULE_ACCOUNT, Status.REPORTED)


def by_hand(**changes):
    value = {
        "type": "indicator", "spec_version": "2.1",
        "id": "indicator--72dda905-a817-445f-a7ea-ea02840b3042",
        "created": "2026-10-01T00:00:00.000Z", "modified": "2026-10-01T00:00:00.000Z",
        "pattern": "[email-addr:value = 'secret@example.tw']", "pattern_type": "stix",
        "valid_from": "2026-10-01T00:00:00Z", "labels": ["loan"],
    }  # fmt: skip
    return {name: item for name, item in (value | changes).items() if item is not None}


def bundled(*objects):
    name = "bundle--bdead320-5e87-47b1-a5ec-0b1398701351"
    return json.dumps({"type": "bundle", "id": name, "objects": objects}).encode()


def test_bundle_by_hand_is_read(town):
    ((row, (report,)),) = read(town, bundled(by_hand()))
    assert (row, report.status, report.category) == (1, None, Category.LOAN)
    ((_, (report,)),) = read(town, b"\xef\xbb\xbf" + bundled(by_hand(revoked=True)))
    assert report.status is Status.WITHDRAWN


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (by_hand(pattern="[secret"), "pattern"),
        (by_hand(pattern="[email-addr:value LIKE 'secret%']"), "pattern"),
        (by_hand(pattern="[email-addr:value != 'secret@example.tw']"), "pattern"),
        (by_hand(pattern="[email-addr:value = 'secret']"), "pattern"),
        (by_hand(pattern="[ipv4-addr:value = '10.1.2.3']"), "pattern"),
        (by_hand(pattern="[email-addr:value = 'a@b.tw'] FOLLOWEDBY [email-addr:value = 'c@d.tw']"),
         "pattern"),
        (by_hand(pattern="[" + "email-addr:value = 'a@b.tw' OR " * 400 + "x:y = 'z']"), "pattern"),
        (by_hand(pattern_type="snort"), "pattern_type"),
        (by_hand(spec_version="2.0"), "spec_version"),
        (by_hand(confidence=300), "confidence"),
        (by_hand(confidence="secret"), "confidence"),
        (by_hand(labels=[]), "labels"),
        (by_hand(labels=["loan", "job"]), "labels"),
        (by_hand(labels=["loan", "use-secret"]), "labels"),
        (by_hand(labels=["loan", "victim", "use-counter"]), "labels"),
        (by_hand(labels="secret"), "labels"),
        (by_hand(valid_from="secret"), "valid_from"),
        (by_hand(valid_from="2027-01-01T00:00:00Z"), "valid_from"),
        (by_hand(valid_until="2026-10-02T00:00:00Z"), "valid_until"),
        (by_hand(valid_until="2020-10-02T00:00:00Z"), "object"),
        (by_hand(valid_from=None), "valid_from"),
        (by_hand(id=None), "id"),
        (by_hand(created="secret"), "created"),
        (by_hand(id="secret"), "id"),
        ({"type": "malware", "name": "secret"}, "type"),
        ("secret", "type"),
        ({"type": ["secret"]}, "type"),
    ],
)  # fmt: skip
def test_unknown_object_is_a_refused_row_and_stops_nothing(town, value, field):
    data = bundled(value, by_hand(id="indicator--82dda905-a817-445f-a7ea-ea02840b3042"))
    rows = dict(read(town, data))
    (refusal,) = rows[1]
    assert (refusal.row, refusal.field) == (1, field)
    assert "secret" not in refusal.rule + refusal.cure
    assert isinstance(rows[2][0], Report)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b'{"type": "bundle", "objects": {}}', b"\xff", b'{"type": "report"}'],
)
def test_file_that_is_no_bundle_is_told(town, data):
    with pytest.raises(InvalidTableError, match="file"):
        read(town, data)


@pytest.mark.parametrize(
    "text",
    [
        "[user-account:account_type = 'x' AND user-account:account_login = 'y']",
        "[user-account:account_login = 'x' AND email-addr:value = 'y']",
        "[user-account:account_login = 'x' AND user-account:account_login = 'y']",
    ],
)
def test_other_conjunctions_name_nobody(town, text):
    ((_, (refusal,)),) = read(town, bundled(by_hand(pattern=text)))
    assert refusal.field == "pattern"


def test_alternatives_in_all_spellings_are_read():
    text = "([email-addr:value = 'a'] OR [(email-addr:value = 'b' OR x-bank-account:value = 'c')])"
    kinds = [kind for kind, _ in read_pattern(text)]
    assert kinds == [IdentifierKind.EMAIL, IdentifierKind.EMAIL, IdentifierKind.BANK_ACCOUNT]
    assert read_pattern(r"[email-addr:value = 'it\'s\\']") == [(IdentifierKind.EMAIL, "it's\\")]


def test_revoked_indicator_withdraws_what_it_reported(town):
    path = town.path / "given.json"
    register, settings = town.register(), town.home.settings()
    for changes in ({}, {"revoked": True}):
        path.write_bytes(bundled(by_hand(**changes)))
        source = open_input(path, settings.defaults(town.clock.now()))
        intake = take_in(register, source, settings, None, town.actor(), enter=lambda _count: None)
        assert (intake.accepted, intake.refusals) == (1, [])
    assert [state for state, *_ in register.counts()] == [Status.WITHDRAWN]
