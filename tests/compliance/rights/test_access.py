"""What a person is told: everything, in words, in both languages, with redactions that say why."""

import pytest

from compliance.errors import NotPermittedError
from compliance.rights.access import account
from compliance.rights.kinds import Answer, Kind
from protocols.errors import OutOfTurnError, UnsupportedParameterError


def tell(place, number, **withhold):
    codes = {name.replace("_", "/"): code for name, code in withhold.items()}
    return account(place.rights, [place.shelf], number, place.who(), withhold=codes)


@pytest.fixture
def asked(insurer, numbers, sealed_phone):
    """An access request of a person who was looked up under a case and given to the police."""
    insurer.looked_up(numbers[0], case="C-77", recipients=("police",))
    insurer.looked_up(numbers[1], case="C-88")
    insurer.shelf.put(sealed_phone)
    return insurer.take(Kind.ACCESS)


def test_account_has_what_is_the_persons_and_nothing_of_others(insurer, asked):
    found = tell(insurer, asked)
    text = found.text()
    assert "C-77" in text
    assert "C-88" not in text
    assert "police" in text
    assert asked in text
    # The lookup, three steps of the request, and the search itself.
    assert [len(section.findings) for section in found.sections] == [5, 1, 1]


def test_account_is_in_both_languages(insurer, asked):
    text = tell(insurer, asked).text()
    chinese, _, english = text.partition("# Data about you")
    assert "對您資料之處理與利用" in chinese
    assert "為您或稽核而檢索您的資料" in chinese
    assert "your data were searched" in english
    assert "架上之物" in chinese
    assert "things on a shelf" in english
    assert "\u241f" not in text


def test_account_names_staff_by_pseudonym_and_no_reason(insurer, asked):
    text = tell(insurer, asked).text()
    assert insurer.who().actor.hex()[:8] in text
    assert "the person wrote" not in text


def test_withheld_section_names_its_ground_and_not_how_much(insurer, asked):
    text = tell(insurer, asked, log="hinders_duties").text()
    assert "C-77" not in text
    assert "PDPA Art. 10 (2)" in text
    assert "hinders_duties" in text
    assert "妨害公務機關執行法定職務" in text


def test_unknown_section_or_ground_is_refused_before_anything_is_searched(insurer, asked):
    size = len(insurer.entries())
    with pytest.raises(UnsupportedParameterError, match="section"):
        tell(insurer, asked, everything="hinders_duties")
    with pytest.raises(UnsupportedParameterError, match="ground"):
        tell(insurer, asked, log="we_do_not_like_it")
    assert len(insurer.entries()) == size


def test_search_is_entered_about_the_person_before_it_is_made(insurer, asked):
    tell(insurer, asked)
    last = insurer.entries()[-1]
    assert (last.act, last.verb.value) == ("search_subject", "consult")


def test_search_needs_a_second_person(insurer, asked):
    with pytest.raises(NotPermittedError):
        account(insurer.rights, [], asked, insurer.who(second=False), withhold={})


def test_only_access_in_work_is_told(insurer, asked):
    other = insurer.take(Kind.CORRECTION)
    early = insurer.rights.open(Kind.ACCESS, "tw", insurer.texts(), insurer.who()).number
    for number in (other, early):
        with pytest.raises(OutOfTurnError):
            tell(insurer, number)


def test_account_after_an_erasure_says_that_nothing_is_held(insurer, asked, numbers):
    insurer.rights.answer(asked, Answer.GRANTED, "", insurer.who())
    insurer.rights.close(asked, insurer.who())
    number = insurer.take(Kind.ERASURE)
    insurer.erase(number)
    insurer.rights.close(number, insurer.who())
    later = insurer.take(Kind.ACCESS)
    found = tell(insurer, later)
    # Only what this request itself brought about.
    assert [len(section.findings) for section in found.sections] == [4, 1, 0]
    assert "C-77" not in found.text()
