"""The two languages: every key in both, every key used, dates and punctuation of the place."""

import json
import re
from pathlib import Path

import pytest

from compliance.policy.actors import StaffRole
from compliance.web import formats
from compliance.web.errors import STATUSES
from compliance.web.languages import Catalogue, Language, names_in, parse_language, preferred

ROOT = Path(__file__).parents[3]
PACKAGES = sorted(
    str(path.parent.relative_to(ROOT)).replace("/", ".")
    for top in ("compliance", "server", "clients")
    for path in (ROOT / top).rglob("texts")
    if path.is_dir()
)
NOW = 1_800_064_800


def test_all_packages_with_texts_go_together():
    assert {"compliance.web", "compliance.signin.pages"} <= set(PACKAGES)
    Catalogue(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_both_files_have_the_same_keys_and_values(package):
    folder = ROOT / package.replace(".", "/") / "texts"
    english, chinese = (json.loads((folder / f"{name}.json").read_text()) for name in ("en", "zh"))
    assert list(english) == list(chinese)
    assert {key: names_in(text) for key, text in english.items()} == {
        key: names_in(text) for key, text in chinese.items()
    }
    assert all(text.strip() for text in (*english.values(), *chinese.values()))


@pytest.mark.parametrize("package", PACKAGES)
def test_chinese_has_full_width_marks_and_english_no_chinese(package):
    folder = ROOT / package.replace(".", "/") / "texts"
    han = r"[\u4e00-\u9fff]"
    for key, text in json.loads((folder / "zh.json").read_text()).items():
        found = re.search(rf"{han}\s*[,:;?!()]|[,:;?!()]\s*{han}|{han}\.(?:\s|$)", text)
        assert found is None, (key, text)
    for key, text in json.loads((folder / "en.json").read_text()).items():
        if key != "layout.demo":
            assert not re.search(han, text), key


def test_every_text_is_used_and_every_used_text_is_there():
    catalogue = Catalogue(PACKAGES)
    used, prefixes = set(), set()
    for top in ("compliance", "server", "clients"):
        for path in (ROOT / top).rglob("*"):
            if path.suffix == ".html":
                source = path.read_text()
                used |= set(re.findall(r"""\bt\(["']([a-z0-9_.]+)["'][,)]""", source))
                prefixes |= set(re.findall(r"""\bt\(["']([a-z0-9_.]+\.)["'] ~""", source))
            elif path.suffix == ".py" and {"web", "pages", "console"} & set(path.parts):
                source = path.read_text()
                used |= set(re.findall(r'(?:trouble|menu)="([a-z0-9_.]+)"', source))
                used |= set(re.findall(r'TroubleError\("([a-z0-9_.]+)"', source))
                prefixes |= set(re.findall(r'TroubleError\(f"([a-z0-9_.]+\.)\{', source))
                used |= {f"said.{key}" for key in re.findall(r'said="([a-z0-9_]+)"', source)}
    used |= {f"role.{role}" for role in StaffRole}
    used |= {f"error.{status}.{part}" for status in STATUSES for part in ("title", "text")}
    missing = {key for key in used if not catalogue.has(key)}
    assert not missing
    idle = {
        key for key in catalogue.texts(Language.EN)
        if key not in used and not key.startswith(tuple(prefixes))
    }  # fmt: skip
    assert not idle


@pytest.mark.parametrize(
    ("english", "chinese", "told"),
    [
        ({"a": "x"}, {}, "one language alone"),
        ({"a": "x {n}"}, {"a": "x"}, "other values"),
        ({"layout.skip": "x"}, {"layout.skip": "x"}, "has a text elsewhere"),
    ],
)
def test_a_site_does_not_start_with_half_a_text(tmp_path, monkeypatch, english, chinese, told):
    folder = tmp_path / "half_a_package"
    (folder / "texts").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    for name, value in (("en", english), ("zh", chinese)):
        (folder / "texts" / f"{name}.json").write_text(json.dumps(value))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "half_a_package", raising=False)
    with pytest.raises(ValueError, match=told):
        Catalogue(("compliance.web", "half_a_package"))


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        ("", "zh"), ("en", "en"), ("en-GB,en;q=0.9", "en"), ("zh-TW,zh;q=0.9,en;q=0.8", "zh"),
        ("fr, en;q=0.5, zh;q=0.7", "zh"), ("de", "zh"), ("en;q=0", "zh"), ("*", "zh"),
        ("en;q=x", "zh"), ("," * 5000, "zh"), ("en;q=0.1,zh;q=0.2", "zh"), ("EN-us", "en"),
    ],
)  # fmt: skip
def test_the_reader_gets_the_language_that_the_browser_asks_for(accept, language):
    assert preferred(accept) == language


def test_languages_have_tags_and_names():
    assert [language.tag for language in Language] == ["zh-Hant-TW", "en"]
    assert parse_language("fr") is None


def test_times_are_those_of_taipei():
    late = NOW + 14 * 3600  # midnight in Taipei, still the day before elsewhere
    assert formats.moment(NOW, Language.ZH) == "民國 116 年 1 月 16 日 10:00"
    assert formats.moment(late, Language.EN) == "17 Jan 2027 00:00"
    assert formats.iso(NOW) == "2027-01-16T10:00:00+08:00"
    assert formats.weekday(NOW, Language.ZH) == "星期六"
    assert formats.weekday(NOW, Language.EN) == "Saturday"
    assert formats.day(-2_000_000_000, Language.ZH) == "民國前 6 年 8 月 17 日"


def test_numbers_and_spans():
    assert formats.number(1234567) == "1,234,567"
    assert [formats.span(s, Language.EN) for s in (5, 60, 900, 28_800, 86_400)] == [
        "less than a minute", "1 minute", "15 minutes", "8 hours", "1 day",
    ]  # fmt: skip
    assert formats.span(900, Language.ZH) == "15 分鐘"
