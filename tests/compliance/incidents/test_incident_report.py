"""The report: complete in both languages, and proven by the log with no word of ours."""

import json

import pytest

from compliance.agreement.profile import shipped_profile
from compliance.agreement.vocabulary import Title
from compliance.incidents.evidence import log_evidence
from compliance.incidents.incident import Affected, Span
from compliance.incidents.report import report_fields, report_text
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.merkle import hash_leaf, verify_inclusion
from protocols.tlog.proof import LogProof

NOW, HOUR = 1_795_305_600, 3_600
ORGANISATION = Title("Example Life", "範例人壽")
SECTOR = shipped_profile("tw").sector("life-insurance").title


@pytest.fixture
def written(world, opening):
    """An incident that was worked on, and how to write its report."""
    desk = world.officer
    affected = Affected(
        flows=("report:police:insurer",), data_sets=("fraud-reports",), records=120,
        special=("criminal-record",),
    )  # fmt: skip
    desk.open(opening(text="一份通報表誤送 | wrong partner", affected=affected))
    world.clock.advance(HOUR)
    desk.note(1, "file deleted", Affected(evidence=(Span("insurer/audit/2026", 0, 0),)))
    desk.tell(1, "by form", told_at=NOW + HOUR, deadline="authority-72h")

    def write(name="authority-72h", language=None, now=NOW + 2 * HOUR):
        incident = world.book.find(1)
        proofs = log_evidence(world.office, incident)
        given = {"sector": SECTOR, "organisation": ORGANISATION, "now": now}
        deadline = incident.deadline(name)
        if language is None:
            return report_fields(incident, deadline, proofs, **given)
        return report_text(incident, deadline, proofs, **given, language=language)

    return write


def test_machine_report_says_everything(written):
    value = written()
    json.dumps(value, allow_nan=False)
    assert (value["incident"], value["noticed"], value["written"]) == (
        1,
        NOW - HOUR,
        NOW + 2 * HOUR,
    )
    assert (value["to"]["state"], value["to"]["told_at"]) == ("told", NOW + HOUR)
    assert value["to"]["whom"]["zh"] == "金融監督管理委員會"
    assert [item["state"] for item in value["clocks"]] == ["told", "due"]
    assert [item["kind"] for item in value["timeline"]] == ["opened", "noted", "told"]
    assert value["timeline"][2]["clock"] == "authority-72h"
    assert value["affected"]["records"] == 120
    assert value["affected"]["evidence"] == [["insurer/audit/2026", 0, 0]]
    assert value["closed"] is None
    assert written("subjects-72h", now=NOW + 99 * HOUR)["to"]["state"] == "overdue"


def test_every_event_is_proven_under_the_signed_checkpoint(world, written):
    value = written()
    assert len(value["log"]["proofs"]) == 3
    for event, item in zip(value["timeline"], value["log"]["proofs"], strict=True):
        assert (event["log"], event["entry"]) == (item["log"], item["index"])
        proof = LogProof.decode(item["proof"].encode())
        assert proof.note.encode().decode() == value["log"]["checkpoints"][item["log"]]
        (entry,) = world.office.storage.entries(item["log"], item["index"], item["index"] + 1)
        checkpoint = Checkpoint.parse(proof.note.text)
        verify_inclusion(
            proof.index, checkpoint.size, hash_leaf(entry), proof.hashes, checkpoint.root
        )
        assert proof.note.text.startswith("insurer/audit/2026\n")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["# Incident report 1", "Financial Supervisory Commission", "Example Life",
                "2026-11-22 07:00 +0800", "told 2026-11-22 09:00 +0800", "Life insurance",
                "to be confirmed in the gazette", "fraud-reports", "120", "not known yet",
                "insurer/audit/2026 0-0", "FSC rules G0380233", "names no person"]),
        ("zh", ["# 個資事故通報 1", "金融監督管理委員會", "範例人壽", "人壽保險業", "已通報",
                "待公報確認", "尚待查明", "事故經過", "處理時序", "簽章檢查點", "不含任何自然人"]),
    ],
)  # fmt: skip
def test_report_for_people_is_whole_in_both_languages(written, language, words):
    text = written(language=language)
    assert [word for word in words if word not in text] == []
    assert "一份通報表誤送" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1  # no text breaks the table


def test_report_of_a_closed_incident_has_its_finding(world, written):
    world.officer.close(1, finding="a wrong address", reason="mended", untold="no risk to them")
    value = written()
    assert value["closed"] == {
        "finding": "a wrong address", "reason": "mended", "untold": "no risk to them",
    }  # fmt: skip
    assert [item["state"] for item in value["clocks"]] == ["told", "not_told"]
    for language, word in (("en", "Why others were not told"), ("zh", "未通報理由")):
        text = written(language=language)
        assert word in text
        assert "a wrong address" in text
