"""The shipped dashboard and alert rules hold together, and say what their page says."""

import json
import re
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "operation"
METRIC = re.compile(r"\blianfang_(?:hub|node)_[a-z_]+\b")
ROW = re.compile(r"^\| `(lianfang_[a-z_]+)` \| ([a-z, ]*?) ?\|", re.MULTILINE)
PARTS = ("_bucket", "_sum", "_count")


def described():
    """The labels of every metric of the page."""
    page = (FOLDER / "README.md").read_text()
    return {name: set(filter(None, labels.split(", "))) for name, labels in ROW.findall(page)}


def rules():
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def panels():
    return json.loads((FOLDER / "dashboard.json").read_text())["panels"]


def expressions():
    targets = [target for panel in panels() for target in panel.get("targets", [])]
    return [rule["expr"] for rule in rules().values()] + [item["expr"] for item in targets]


def whole(name, known):
    """The metric that a part of a histogram belongs to."""
    found = [name.removesuffix(part) for part in PARTS if name.endswith(part)]
    return next((item for item in found if item in known), name)


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_is_described(expression):
    known = described()
    names = {whole(name, known) for name in METRIC.findall(expression)}
    assert names <= set(known)
    labels = {"le", "instance"}.union(*(known[name] for name in names))
    used = re.findall(r"(?:by|without) \(([^)]*)\)", expression)
    used = {label for group in used for label in group.split(", ")}
    used |= set(re.findall(r"([a-z_]+)=~?\"", expression))
    assert used <= labels
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")


@pytest.mark.parametrize("rule", rules().values(), ids=rules())
def test_alerts_say_what_is_wrong_and_what_to_do(rule):
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "action"}
    known = described()
    labels = set().union(*(known[whole(name, known)] for name in METRIC.findall(rule["expr"])))
    assert set(re.findall(r"\$labels\.([a-z_]+)", rule["annotations"]["summary"])) <= labels


def test_what_must_be_alerted_is():
    expected = {
        "LianfangLogNotPublished": "> 3600", "LianfangQuorumMissing": "log_quorum",
        "LianfangHolderStreamDown": "stream_connected == 0", "LianfangEpochEnds": "< 3 * 86400",
        "LianfangHubDiskNearlyFull": "< 0.1", "LianfangHubCertificateEnds": "< 14 * 86400",
        "LianfangHubQuotaNearlyUsed": "> 0.9",
    }  # fmt: skip
    found = rules()
    assert all(part in found[name]["expr"] for name, part in expected.items())


def test_panels_do_not_overlap():
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels()
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
