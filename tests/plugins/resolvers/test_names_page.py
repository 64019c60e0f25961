"""The page about names shows what `hven resolve` answers, and settings that there are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from hven.model.settings import collect_setting_docs
from process_runner import run_hven
from shared import ROOT

PAGE = (ROOT / "src/hven/plugins/resolvers/docs/names.md").read_text(encoding="utf-8")


def find_block(kind: str) -> str:
    match = re.search(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None
    return match[1]


def test_the_resolver_answers_as_the_page_shows(tmp_path: Path) -> None:
    run_hven("init", tmp_path / "site")
    command, *expected = find_block("console").splitlines()
    assert command == "$ hven resolve 'M 31'"
    assert run_hven("resolve", "M 31", "--site", tmp_path / "site").stdout.split() == " ".join(expected).split()


def test_settings_on_the_page_are_settings() -> None:
    names = {f"{section}.{name}" for section, values in tomllib.loads(find_block("toml")).items() for name in values}
    assert len(names) == 2
    assert names <= set(collect_setting_docs())
