"""Entries of one form are decoded once: the quick way is really taken."""

from dataclasses import replace

from compliance.log.form import EntryForms


def test_entries_that_differ_in_number_and_time_alone_are_one_form(tools):
    forms = EntryForms()
    for number in range(3):
        assert (
            forms.read_sequence(replace(tools.make_entry(number), sequence=number).encode())
            == number
        )
    assert len(forms._known) == 1
