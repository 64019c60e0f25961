"""Every word of the pages is there in every language, and the reader's own is chosen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from asgi_client import Client

from hven.portal._pages.texts import list_languages, load_page_translations
from plugin_needs import list_package_directories
from portal_templates import list_templates

ROOT = Path(__file__).parents[2]
WORD = r'"((?:[^"\\]|\\.)*)"'


def used(files: list[Path], call: str) -> set[str]:
    return {
        match[1] for path in files for match in re.finditer(rf"{call}\(\s*{WORD}", path.read_text(encoding="utf-8"))
    }


@pytest.mark.parametrize("language", list_languages()[1:])
def test_no_text_lacks_a_translation(language: str) -> None:
    pages = used(list_templates(), r"(?<![\w.])_")
    script_files = [path for directory in list_package_directories() for path in directory.glob("scripts/**/*.js")]
    scripts = used([*(ROOT / "web" / "src").glob("*.js"), *script_files], r"(?<!\w)t")
    assert len(pages) > 30
    assert len(scripts) > 100
    assert pages - set(load_page_translations(language)) == set(), "texts of templates"
    assert scripts - set(load_page_translations(language, "browser")) == set(), "texts of scripts"


@pytest.mark.parametrize("language", list_languages()[1:])
def test_names_of_ways_to_query_and_of_checks_have_translations(language: str) -> None:
    code = [path for path in (ROOT / "src" / "hven").rglob("*.py") if "plugins" not in path.parts]
    code += [path for directory in list_package_directories() for path in directory.rglob("*.py")]
    call = re.compile(rf"(?:UsageExample\(\s*title=|_build_check_result\(\s*){WORD}")
    names = {name for path in code for name in call.findall(path.read_text(encoding="utf-8"))}
    assert len(names) > 20
    assert names - set(load_page_translations(language)) == set()


@pytest.mark.parametrize("section", ["pages", "browser"])
@pytest.mark.parametrize("language", list_languages()[1:])
def test_holes_are_the_same(language: str, section: str) -> None:
    for english, other in load_page_translations(language, section).items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", other)), english


@pytest.mark.parametrize(
    ("headers", "address", "language"),
    [
        ({}, "/", "en"),
        ({"accept-language": "fr-FR,fr;q=0.9,en;q=0.8"}, "/", "fr"),
        ({"accept-language": "de,en;q=0.5,fr;q=0.4"}, "/", "en"),
        ({"accept-language": "fr;q=x, ,;;q=1,*"}, "/", "en"),
        ({"accept-language": "fr"}, "/?lang=en", "en"),
        ({"cookie": "hven_language=fr"}, "/", "fr"),
        ({"cookie": "hven_language=xx"}, "/?lang=../../etc", "en"),
    ],
)
def test_the_readers_language_is_chosen(client: Client, headers: dict[str, str], address: str, language: str) -> None:
    answer = client.ask("GET", address, headers=headers)
    assert f'<html lang="{language}"' in answer.text
    assert ("Aller au contenu" in answer.text) == (language == "fr")
    assert "accept-language" in answer.headers["vary"]
