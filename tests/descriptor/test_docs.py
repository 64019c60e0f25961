"""The reference pages have every key, option and setting, in the words of the code.

UPDATE_GOLDEN=1 rewrites the generated parts (never in CI).
"""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from textwrap import indent

import pytest

from hven.descriptor import build_json_schema, check_descriptor, load_descriptor
from hven.descriptor._key_sections import KEY_SECTIONS
from hven.engines.postgres.settings import PostgresSettings
from hven.model import plugins
from hven.model.settings import QueryLimits, Settings, collect_setting_docs
from hven.model.settings._sections import JobLimits, ResolverSettings, TreeSettings
from hven.sources._reading.data_files import FileOptions
from hven.sources.document_enrichment import DocumentColumn, EnrichOptions
from reference_pages import (
    REFERENCE,
    SECTIONS_BY_NAME,
    UPDATE,
    find_key_anchors,
    find_option_pages,
    keep_part,
    write_cell,
    write_key_index,
    write_key_section,
    write_list_of_kinds,
    write_options,
)


def keep(page: str, part: str, content: str) -> None:
    keep_part(REFERENCE / page, f"<!-- {part} -->", f"<!-- /{part} -->", content)


@pytest.mark.parametrize("section", KEY_SECTIONS, ids=lambda section: section.name)
def test_every_section_of_keys(section):
    page, _ = find_key_anchors()[section.name]
    keep_part(
        REFERENCE / "descriptor" / page,
        f"<!-- keys: {section.name} -->",
        "<!-- /keys -->",
        write_key_section(section),
    )


def test_the_index_has_every_key():
    keep("descriptor.md", "index of keys", write_key_index())


@pytest.mark.parametrize("kind", plugins.list_plugins("sources"))
def test_every_option_of_every_source(kind):
    options = plugins.load_plugin("sources", kind).Options
    keep_part(find_option_pages()[kind], f"<!-- options: {kind} -->", "<!-- /options -->", write_options(options))


def test_every_option_of_files_and_documents():
    page = REFERENCE / "sources.md"
    for name, options in {
        "of files": FileOptions,
        "of documents": EnrichOptions,
        "of columns of documents": DocumentColumn,
    }.items():
        keep_part(page, f"<!-- options: {name} -->", "<!-- /options -->", write_options(options))


def test_every_kind_of_source_is_listed():
    modules = {kind: plugins.load_plugin("sources", kind) for kind in plugins.list_plugins("sources")}
    keep("sources.md", "list of kinds", write_list_of_kinds(modules))


def test_every_setting():
    defaults = {field.name: getattr(Settings(directory=Path()), field.name) for field in fields(Settings)}
    for group, kind in {
        "limits": QueryLimits,
        "jobs": JobLimits,
        "postgres": PostgresSettings,
        "resolver": ResolverSettings,
        "tree": TreeSettings,
    }.items():
        defaults |= {f"{group}.{field.name}": getattr(kind(), field.name) for field in fields(kind)}

    def shown(name):
        value = defaults.get(name)
        if (
            value is None
            or is_dataclass(value)
            or name in {"defaults", "alias", "foreign", "portals", "remote"}
            or name.startswith(("alias.", "foreign.", "portals.", "remote."))
        ):
            return ""
        return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"

    # limits stand first, then what engines bring, as rows are kept before they are asked for
    first, last = ["", "limits", "postgres"], ["tree", "portals", "alias", "foreign", "remote"]
    rank = {name: number for number, name in enumerate([*first, "python", *last])}
    told = sorted(collect_setting_docs().items(), key=lambda one: rank.get(one[0].rpartition(".")[0], rank["python"]))
    keep(
        "settings.md", "settings", "".join(f"| `{name}` | {shown(name)} | {write_cell(doc)} |\n" for name, doc in told)
    )


def test_the_schema_for_editors():
    path = REFERENCE / "descriptor.schema.json"
    made = json.dumps(build_json_schema(), indent=1, ensure_ascii=False) + "\n"
    if UPDATE:
        path.write_text(made, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == made


@pytest.mark.parametrize("loop", [False, True])
def test_the_first_example_is_right(loop, tmp_path):
    text = (REFERENCE / "descriptor.md").read_text(encoding="utf-8")
    home = tmp_path / "collections" / "brightest"
    home.mkdir(parents=True)
    (home / "bands.csv").write_text("band,nm\nu,365\ng,475\nr,620\n")
    (home / "stars.csv").write_text("name,ra,dec,vmag,obs_id,m_u,m_g,m_r\nSirius,101.3,-16.7,-1.4,a,1,2,3\n")
    whole = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0]
    if loop:
        whole += indent(SECTIONS_BY_NAME["loop"].example, "    ")
    (home / "brightest.yaml").write_text(whole)
    assert [str(fault) for fault in check_descriptor(home / "brightest.yaml", Settings(directory=tmp_path))] == []
    names = [
        column.name
        for column in load_descriptor(home / "brightest.yaml", Settings(directory=tmp_path)).tables[0].table.columns
    ]
    made = [f"{word}_{band}" for band in ["u", "g", "r"] for word in ["mag", "filter", "id", "nm"]]
    assert names == ["name", "ra", "dec", "vmag", *(made if loop else [])]


def test_the_settings_example_is_right(tmp_path):
    from hven.model.settings import load_settings

    text = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    (tmp_path / "hven.toml").write_text(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])
    assert load_settings(tmp_path, {}).root_path == "/hven"
