"""Every key of descriptors has an example, which the reader of descriptors accepts."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from example_plugins import clear_caches
from hven.descriptor._keys import CollectionSection, ObscoreSection, TableSection
from hven.descriptor._loading import read_descriptor
from hven.descriptor._package_keys import KeyReferenceSection
from hven.descriptor.value_schema import FaultCollector, SectionKeySchema
from hven.descriptor.written_yaml import LocatedYamlMap, LocatedYamlScalar, decode_yaml_file, parse_yaml_file
from hven.model.settings import load_settings
from plugin_needs import list_absent_packages
from reference_pages import KEY_RECORDS, KEY_SECTIONS, REFERENCE, SECTIONS_BY_NAME, find_section_keys

WITH_EXAMPLE = [section for section in KEY_SECTIONS if section.example]
# what the examples take for granted: other tables, columns, files and settings
OTHER_TABLES = """\
  targets: {source: targets.csv, columns: {name: {type: string}}}
  previews: {source: previews.csv, columns: {obs_id: {type: string}, path: {type: string}, frequency: {type: float64}, bytes: {type: int64}, band: {type: string}}}
files: data/*
"""
OTHER_FILES = {
    "common/omega.yaml": "publisher: Uraniborg\n",
    "demo/bands.csv": "band,nm\nu,365\n",
    "demo/targets.csv": "name,begin,end\nMars,1,2\n",
    "demo/funcs.py": "def deredden(mag, ebv) -> 'float64':\n    return mag\n",
}
SETTINGS = """\
authority = "example.org"
contact_name = "Uraniborg"
contact_email = "data@example.org"
[defaults]
description = "What every collection in the registry says"
subjects = ["Mars"]
creators = ["Brahe, T."]
licence = "CC-BY-4.0"
[projects.omega-team]
[readers.maser]
command = ["maser"]
"""


def read_used_keys(section: KeyReferenceSection, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Read an example by the records of keys; return the keys of each record that it has."""
    used: dict[str, set[str]] = defaultdict(set)
    read_map = SectionKeySchema.read_section

    def note(record: SectionKeySchema, value: Any, key_path: str, faults: FaultCollector) -> Any:
        if isinstance(value, LocatedYamlMap):
            used[record.name].update(map(str, value))
        elif isinstance(value, LocatedYamlScalar) and record.short_key:
            used[record.name].add(record.short_key)
        return read_map(record, value, key_path, faults)

    faults = FaultCollector()
    page = decode_yaml_file(section.example.encode(), "example.yaml", faults.faults)
    assert page is not None
    written = parse_yaml_file(page, faults.faults)
    assert isinstance(written, LocatedYamlMap)
    records = {"collection": CollectionSection.record, "table": TableSection.record}
    with monkeypatch.context() as patch:
        patch.setattr(SectionKeySchema, "read_section", note)
        clear_caches()  # what records keep is bound to the method as it was
        for key, value in written.items():
            used[section.parent].add(str(key))
            record = ObscoreSection.record if key == "obscore" else None  # it becomes a table before it is read
            if record is not None:
                record.read_section(value, key, faults)
            else:
                records[section.parent].value_readers[str(key)](value, str(key), faults)
    clear_caches()
    assert faults.faults == []
    return used


@pytest.mark.parametrize("section", KEY_SECTIONS, ids=lambda section: section.name)
def test_an_example_has_all_keys_of_its_section(section: KeyReferenceSection, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = SECTIONS_BY_NAME[section.shown_in] if section.shown_in else section
    used = read_used_keys(shown, monkeypatch)
    assert set(find_section_keys(section)) <= used[section.record]


def read_faults(text: str, parent: str, directory: Path) -> list[str]:
    """Read an example as a descriptor, with what it takes for granted."""
    for file, content in OTHER_FILES.items():
        (directory / "collections" / file).parent.mkdir(parents=True, exist_ok=True)
        (directory / "collections" / file).write_text(content, encoding="utf-8")
    if parent == "table":
        has_rows = re.search(r"^(source|view):", text, re.MULTILINE)
        table = "epn_core" if text.startswith("standard: epn-tap") else "main"
        text = f"tables:\n  {table}:\n" + ("" if has_rows else "    source: main.csv\n") + indent(text, "    ")
        text += OTHER_TABLES
    elif not re.search(r"^(tables|files):", text, re.MULTILINE):  # a key of the example may have tables, too
        text += "tables:\n  main: {source: main.csv}\n"
    match = re.match(r"collection: (\w+)", text)
    name = match[1] if match else "demo"
    path = directory / "collections" / name / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text if match else f"collection: demo\ntitle: Demo\n{text}", encoding="utf-8")
    (directory / "hven.toml").write_text(SETTINGS, encoding="utf-8")
    return [str(fault) for fault in read_descriptor(path, load_settings(directory, {}))[1]]


@pytest.mark.parametrize("section", WITH_EXAMPLE, ids=lambda section: section.name)
def test_an_example_is_read_without_a_fault(section: KeyReferenceSection, tmp_path: Path) -> None:
    faults = read_faults(section.example, section.parent, tmp_path)
    absent = "|".join(list_absent_packages())  # keys of the core that only a package uses
    assert [fault for fault in faults if not re.search(rf"belongs to the plug-in package ({absent}),", fault)] == []


BLOCKS = [
    (page.stem, block)
    for page in sorted((REFERENCE / "descriptor").glob("*.md"))
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    if all(block != section.example.rstrip() + "\n" for section in KEY_SECTIONS)
]
# what the blocks of each page set: columns that their tables have
BLOCK_COLUMNS = {
    "rows": "granule_uid: {type: string}, thumbnail_url: {type: string}, time_min: {type: float64}, "
    "n_files: {type: int64}, files: {type: string}, first_file: {type: string}",
}


def test_there_are_blocks_beside_the_examples() -> None:
    assert {page for page, _ in BLOCKS} >= {"rows", "files"}


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_a_block_of_a_page_is_read_without_a_fault(page: str, block: str, tmp_path: Path) -> None:
    parent = "collection" if block.startswith("collection:") else "table"
    if parent == "table":
        block += f"columns: {{{BLOCK_COLUMNS[page]}}}\n"
    assert read_faults(block, parent, tmp_path) == []


def test_each_key_of_each_record_is_in_a_section() -> None:
    shown: dict[str, list[str]] = defaultdict(list)
    for section in KEY_SECTIONS:
        shown[section.record] += find_section_keys(section)
    missing = {name: sorted(set(record.key_types) - set(shown[name])) for name, record in KEY_RECORDS.items()}
    assert {name: keys for name, keys in missing.items() if keys} == {}
