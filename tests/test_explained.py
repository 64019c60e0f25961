"""Fragments of the explanations, and of pages that grew out of them, do what the pages say."""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

from hven.descriptor import check_descriptor
from hven.model.settings import collect_setting_docs, load_settings
from hven.portal._explore.search import PORTAL_PARAMETERS, UNIT_PREFIX
from process_runner import run_hven
from shared import ROOT


def find_block(page: str, kind: str, word: str = "") -> str:
    """Give the first fenced block of a kind that has a word."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = [
        textwrap.dedent(indent + body)
        for indent, body in re.findall(rf"^( *)```{kind}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    ]
    found = [block for block in blocks if word in block]
    assert found, f"{page} has no block of {kind} with {word!r}"
    return found[0]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    run_hven("init", tmp_path / "site")
    return tmp_path / "site"


@pytest.mark.parametrize("page", ["howto/several-machines.md"])
def test_settings_on_the_pages_are_settings(page: str) -> None:
    fragment = tomllib.loads(find_block(page, "toml"))
    names = {
        f"{key}.{name}" if isinstance(value, dict) else key
        for key, value in fragment.items()
        for name in (value if isinstance(value, dict) else [""])
    }
    assert len(names) == 2
    assert names <= set(collect_setting_docs())


def test_the_sync_policy_of_the_page_has_no_fault(site: Path) -> None:
    collection = site / "collections" / "seen"
    collection.mkdir(parents=True)
    (collection / "seen.csv").write_text("granule_uid,status,date_modified\na,valid,2026-01-01T00:00:00\n")
    fragment = find_block("explained/sync.md", "yaml", "watermark:")
    assert fragment.startswith("tables:\n  main:\n")
    descriptor = collection / "seen.yaml"
    descriptor.write_text(
        "collection: seen\ntitle: Seen\ndescription: A table that is followed.\n"
        + fragment
        + "    source: {kind: csv, files: seen.csv}\n"
        + "    columns:\n      granule_uid: {type: string}\n      date_modified: {type: timestamp}\n"
    )
    settings = load_settings(site, {})
    assert [str(fault) for fault in check_descriptor(descriptor, settings) if fault.severity == "error"] == []


def test_the_regions_of_the_page_are_as_its_comments_say() -> None:
    block = find_block("explained/sky.md", "python")
    names: dict[str, object] = {}
    shown = {}
    for line in block.splitlines():
        statement, _, comment = line.partition("  # ")
        if re.fullmatch(r"\w+\.find_faults\(\)", statement):
            shown[comment] = str(eval(statement, names))
        else:
            exec(statement, names)
    assert shown
    assert all(comment == value for comment, value in shown.items())
    assert list(names["mended"].ring_counts) == [2]  # type: ignore[attr-defined]  # two triangles


def test_every_parameter_of_the_portal_is_on_its_page() -> None:
    page = (ROOT / "docs/reference/portal.md").read_text(encoding="utf-8")
    table = page.partition("| parameter |")[2].partition("\n\n")[0]
    listed = {
        name for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(_[a-z.]+)", cell)
    }
    assert listed == {*PORTAL_PARAMETERS, UNIT_PREFIX}
