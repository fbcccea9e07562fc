"""Every look at a person is decided by the agreement, and entered with who was looked at."""

import pytest

from clients.desk.desk import Desk
from clients.desk.permitting import GREY, MATTER
from clients.desk.screening import Screening
from compliance.agreement.vocabulary import Channel
from compliance.errors import NotPermittedError
from compliance.log.export import export_log
from compliance.log.verify import verify_export
from compliance.office.office import Office
from compliance.policy.actors import StaffRole
from compliance.policy.decision import Decision
from compliance.rights.tokens import subject_key, subject_token
from protocols.identifiers import IdentifierKind
from protocols.lookup.light import Colour
from protocols.lookup.request import Purpose
from protocols.tlog.entry import Entry, Outcome, Verb

PHONE, PERSON = IdentifierKind.PHONE, IdentifierKind.TW_PERSON_ID
NUMBER = "0912345678"
HOUR = 3_600


@pytest.fixture
def desk(town):
    town.publish(contributor="telecom")
    with Desk(town.home().root, clock=town.clock) as made:
        yield made


def check(desk, *identifiers, **changes):
    fields = {"purpose": Purpose.COUNTER, "case": "C-118"} | changes
    return desk.check(list(identifiers), **fields)


def entries(office: Office):
    """All entries of the office's own log, oldest first."""
    origin = office.yearly.origin()
    size = office.storage.edge(origin).size
    return [Entry.decode(data) for data in office.storage.entries(origin, 0, size)]


def at_hour(town, hour):
    """Set the clock to the next time that it is `hour` in Taipei."""
    now = town.clock.now()
    town.clock.advance((hour - (now + 8 * HOUR) // HOUR % 24) % 24 * HOUR)


def test_a_check_is_entered_with_its_basis_and_outcome(town, desk, person):
    town.publish([(PHONE, NUMBER, {})])
    check(desk, (PHONE, NUMBER))
    check(desk, (PERSON, person(1)))
    red, green = entries(desk.office)
    assert (red.act, red.verb, red.outcome) == ("check", Verb.CONSULT, Outcome.HIT)
    assert (green.outcome, green.count, green.subject_matter) == (Outcome.MISS, 1, MATTER)
    assert red.agreement.digest == town.agreed.agreement.digest
    assert red.basis != "none"
    assert red.policies == ("insurers-look-up",)
    assert NUMBER not in repr(red) + red.encode().decode()


def test_a_person_is_found_again_under_each_identifier(town, desk, person):
    check(desk, (PHONE, NUMBER), (PERSON, person(1)))
    key = subject_key(desk.lookup.home.root, bytes)
    for kind, value in ((PHONE, "0912-345-678"), (PERSON, person(1))):
        (place,) = desk.office.parts.find_subject(subject_token(key, kind, value))
        entry = Entry.decode(
            desk.office.storage.entries(place.origin, place.index, place.index + 1)[0]
        )
        part = desk.office.parts.read(place, entry.commitment)
        assert part.case == "C-118"
        decision = Decision.decode(part.decision.encode())
        assert decision.policies == ("insurers-look-up",)
        assert decision.policy_set == entry.policy_set
    assert desk.office.parts.find_subject(subject_token(key, PHONE, "0987654321")) == []


def test_grey_is_entered_as_failed(town, person):
    with Desk(town.home().root, clock=town.clock) as desk:  # no table was ever published
        assert check(desk, (PERSON, person(1))).light.colour is Colour.GREY
        (entry,) = entries(desk.office)
    assert (entry.outcome, entry.policies) == (Outcome.FAILED, ("insurers-look-up", GREY))


def test_without_an_agreement_nobody_is_looked_up(make_town, person):
    town = make_town()
    root = town.home().root
    for path in (root / "agreements").glob("*.signature"):
        path.unlink()
    with Desk(root, clock=town.clock) as desk:
        with pytest.raises(NotPermittedError, match="no-agreement-no-act"):
            check(desk, (PERSON, person(1)))
        (entry,) = entries(desk.office)
    assert entry.outcome is Outcome.REFUSED
    assert entry.agreement is None
    assert "agreement.agreement" in entry.policies
    assert town.used() == 0


def test_a_revoked_agreement_stops_the_next_check(town, desk, person):
    check(desk, (PERSON, person(1)))
    revocation = town.agreed.revocation("police", now=town.clock.now())
    desk.office.agreements.keep_revocation(revocation, now=town.clock.now())
    with pytest.raises(NotPermittedError):
        check(desk, (PERSON, person(2)))
    assert town.used() == 1


def test_a_channel_outside_the_agreement_is_refused(make_town, agree, identities, person):
    town = make_town()
    root = town.home().root
    for path in (root / "agreements").glob("*"):
        if path.is_file():
            path.unlink()
    agree(identities, channels={"insurer": [Channel.SCREENING]}).keep(root)
    with Desk(root, clock=town.clock) as desk:
        with pytest.raises(NotPermittedError, match="channels"):
            check(desk, (PERSON, person(1)))
        assert "agreement.channels" in entries(desk.office)[0].policies


def test_people_look_by_day_and_at_night_in_an_emergency_alone(town, desk, person):
    clerk = desk.office.person("lin", [StaffRole.DESK])
    at_hour(town, 10)
    town.publish(contributor="telecom")
    check(desk, (PERSON, person(1)), by=clerk)
    at_hour(town, 23)
    with pytest.raises(NotPermittedError, match="within-hours"):
        check(desk, (PERSON, person(1)), by=clerk)
    check(desk, (PERSON, person(1)), by=clerk, glass_broken=True)
    by_day, refused, broken = entries(desk.office)
    assert by_day.actor == refused.actor == clerk.pseudonym
    assert refused.outcome is Outcome.REFUSED
    assert broken.outcome is not Outcome.REFUSED


def test_who_has_no_role_for_it_sees_nothing(town, desk, person):
    at_hour(town, 10)
    operator = desk.office.person("wu", [StaffRole.OPERATOR])
    with pytest.raises(NotPermittedError, match="no policy permits"):
        check(desk, (PERSON, person(1)), by=operator)


def test_a_screening_is_one_entry_with_its_count(town, desk, person, tmp_path):
    file = tmp_path / "customers.csv"
    file.write_text("id\n" + "\n".join(person(number) for number in range(30)) + "\n")
    screening = Screening(desk, file, column="id", kind=PERSON)
    screening.run(tmp_path / "out.parquet", approved_by="the test")
    (entry,) = entries(desk.office)
    assert (entry.act, entry.count, entry.outcome) == ("screen", 30, Outcome.DONE)


def test_the_desks_own_log_holds(town, desk, person, tmp_path):
    check(desk, (PERSON, person(1)))
    desk.office.yearly.checkpoint()
    origin = desk.office.yearly.origin()
    export_log(desk.office.storage, origin, tmp_path / "log")
    assert verify_export(tmp_path / "log", desk.office.policy_of(origin)).entries == 1
