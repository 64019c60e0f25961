"""Texts in several languages: a map where a text may stand; programs get the site's own, and the check tells what lacks."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from hven.descriptor import check_descriptor, load_descriptor
from hven.model.settings import load_settings as settings_of
from hven.model.table import LocalizedText, build_localized_text, table_from_json, table_to_json, translate_text

TEXT = """\
collection: cubes
title: {title}
description: {{en: "  Made cubes  ", fr: Cubes faits}}
tables:
  main:
    title: {{en: Cubes, fr: Les cubes}}
    columns:
      ice: {{type: float64, label: {{en: Ice, fr: Glace}}, description: Depth}}
      level: {{type: string, enum: levels}}
    enums:
      levels: {{"1": {{en: raw, fr: brut}}, "2": done, 3: 4}}
    source: a.csv
"""


def write_descriptor(root: Path, title: str, language: str = "en") -> Path:
    (root / "hven.toml").write_text(f'title = "T"\nlanguage = "{language}"\n', encoding="utf-8")
    folder = root / "collections" / "cubes"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("ice,level\n1,1\n", encoding="utf-8")
    path = folder / "cubes.yaml"
    path.write_text(TEXT.format(title=title), encoding="utf-8")
    return path


def test_a_text_is_that_of_the_site_and_knows_the_others(tmp_path: Path) -> None:
    path = write_descriptor(tmp_path, "{fr: Cubes de Mars, en: Cubes of Mars}")
    resource = load_descriptor(path, settings_of(tmp_path))
    table = resource.tables[0].table
    assert (resource.title, translate_text("fr", resource.title)) == ("Cubes of Mars", "Cubes de Mars")
    assert (resource.description, translate_text("fr", resource.description or "")) == ("Made cubes", "Cubes faits")
    ice = table.find_column("ice")
    assert [translate_text(one, ice.label or "") for one in ("en", "fr", "de")] == ["Ice", "Glace", "Ice"]
    assert translate_text("fr", ice.description or "") == "Depth"
    assert [translate_text("fr", one) for one in table.enums["levels"].values()] == ["brut", "done", "4"]
    again = table_from_json(table_to_json(table))
    assert again == table
    assert translate_text("fr", again.title or "") == "Les cubes"
    assert translate_text("fr", again.enums["levels"]["1"]) == "brut"
    assert translate_text("fr", pickle.loads(pickle.dumps(ice)).label) == "Glace"


def test_a_site_in_french_tells_programs_in_french(tmp_path: Path) -> None:
    path = write_descriptor(tmp_path, "{en: Cubes of Mars, fr: Cubes de Mars}", "fr")
    assert load_descriptor(path, settings_of(tmp_path)).title == "Cubes de Mars"


@pytest.mark.parametrize(
    ("title", "severity", "said"),
    [
        ("{fr: Cubes de Mars}", "warning", "title has no text in 'en', the language of the site"),
        ("{en: Cubes, de: Würfel}", "error", "title: 'de' is not a language of Hven's pages"),
        ("{}", "error", "title is empty"),
        ("{en: }", "error", "title.en is empty"),
        ("{en: [a]}", "error", "title.en must be text, not a list"),
        ("{en: 1e3}", "error", "title.en must be text, but YAML reads `1e3`"),
        ("[a, b]", "error", "title must be text, not a list"),
    ],
)
def test_the_check_tells_what_is_wrong(tmp_path: Path, title: str, severity: str, said: str) -> None:
    path = write_descriptor(tmp_path, title)
    found = [
        (one.severity, one.message) for one in check_descriptor(path, settings_of(tmp_path)) if "title" in one.message
    ]
    assert [(level, message[: len(said)]) for level, message in found] == [(severity, said)]


def test_one_language_alone_is_that_of_all(tmp_path: Path) -> None:
    resource = load_descriptor(write_descriptor(tmp_path, "{fr: Cubes de Mars}"), settings_of(tmp_path))
    assert [translate_text(one, resource.title) for one in ("en", "fr")] == ["Cubes de Mars"] * 2


def test_an_included_text_is_put_together_by_language(tmp_path: Path) -> None:
    path = write_descriptor(tmp_path, "{en: Mine}\ninclude: [../below.yaml]")
    (tmp_path / "collections" / "below.yaml").write_text("title: {en: Theirs, fr: Le leur}\n", encoding="utf-8")
    title: Any = load_descriptor(path, settings_of(tmp_path)).title
    assert dict(title.texts) == {"en": "Mine", "fr": "Le leur"}


def test_a_wording_is_a_text() -> None:
    one = build_localized_text({"en": "<b>", "fr": "é"})
    assert isinstance(str(one), LocalizedText)
    assert (one, f"{one}", one.upper(), {one: 1}["<b>"]) == ("<b>", "<b>", "<B>", 1)
