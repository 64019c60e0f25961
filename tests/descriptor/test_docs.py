"""The reference pages have every key, option and setting, in the words of the code.

UPDATE_GOLDEN=1 rewrites the generated parts (never in CI).
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from textwrap import indent

import pytest

from hven.descriptor import build_descriptor_json_schema, check_descriptor, load_descriptor
from hven.model import plugins
from hven.model.settings import Settings, collect_setting_docs, load_settings
from hven.model.settings._sections import has_named_entries
from hven.model.settings._setting_examples import GENERAL_EXAMPLES
from hven.model.settings._validation import collect_settings_sections
from hven.sources._reading.data_files import FileOptions
from plugin_needs import list_absent_packages, list_package_pages
from reference_pages import (
    KEY_SECTIONS,
    REFERENCE,
    SECTIONS_BY_NAME,
    UPDATE,
    find_key_anchors,
    find_option_pages,
    keep_part,
    list_package_sections,
    write_key_index,
    write_key_section,
    write_list_of_kinds,
    write_options,
    write_package_settings,
    write_settings,
)


def keep(page: str, part: str, content: str) -> None:
    keep_part(REFERENCE / page, f"<!-- {part} -->", f"<!-- /{part} -->", content)


@pytest.mark.parametrize("section", KEY_SECTIONS, ids=lambda section: section.name)
def test_every_section_of_keys(section):
    page, _ = find_key_anchors()[section.name]
    keep_part(
        page,
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


def test_every_option_of_files():
    keep_part(REFERENCE / "sources.md", "<!-- options: of files -->", "<!-- /options -->", write_options(FileOptions))


def test_every_kind_of_source_is_listed():
    modules = {kind: plugins.load_plugin("sources", kind) for kind in plugins.list_plugins("sources")}
    keep("sources.md", "list of kinds", write_list_of_kinds(modules))


def test_every_setting():
    keep("settings.md", "settings", write_settings())


@pytest.mark.parametrize("package", list_package_sections())
def test_every_setting_of_a_package_is_on_a_page_of_it(package):
    begin = f"<!-- settings: {package} -->"
    [page] = [page for page in list_package_pages() if begin in page.read_text(encoding="utf-8")]
    assert page.parent.parent.name == package
    keep_part(page, begin, "<!-- /settings -->", write_package_settings(package))


SETTING_EXAMPLES = {
    **GENERAL_EXAMPLES,
    **{name: section.example_text for name, section in collect_settings_sections().items()},
}


def load_example(example, directory):
    """Load an example as the hven.toml of a site that has the secrets that it names."""
    (directory / "hven.toml").write_text(example, encoding="utf-8")
    address = "postgresql+psycopg://hven@127.0.0.1/hven"
    secrets = sorted(set(re.findall(r'"\$([A-Z_]+)"', example)))
    (directory / "secrets.toml").write_text("".join(f'{name} = "{address}"\n' for name in secrets))
    (directory / "secrets.toml").chmod(0o600)
    return load_settings(directory, {})


@pytest.mark.parametrize("name", SETTING_EXAMPLES)
def test_the_example_of_a_section_is_loaded_and_changes_each_setting(name, tmp_path):
    example = SETTING_EXAMPLES[name]
    settings, usual = load_example(example, tmp_path), Settings(directory=tmp_path)
    written = tomllib.loads(example)
    if name in GENERAL_EXAMPLES:
        assert all(getattr(settings, key) != getattr(usual, key) for key in written)
        return
    section = collect_settings_sections()[name]
    wanted = {field.name for field in fields(section.settings_class) if field.metadata}
    entries = written[section.name] if section.is_repeated else [written[section.name]]
    if has_named_entries(section.settings_class):
        wanted.discard("name")
        entries = written[name].values()
    assert {key for entry in entries for key in entry} == wanted


def test_every_setting_above_all_sections_is_in_an_example():
    sections = collect_settings_sections().keys()
    names = [name for name in collect_setting_docs() if "." not in name and name not in sections]
    shown = [name for example in GENERAL_EXAMPLES.values() for name in tomllib.loads(example)]
    assert sorted(shown) == sorted(names)


def test_the_schema_for_editors():
    path = REFERENCE / "descriptor.schema.json"
    schema = build_descriptor_json_schema()
    made = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
    if list_absent_packages():
        assert is_part_of(json.loads(made), json.loads(path.read_text(encoding="utf-8")))
        return
    if UPDATE:
        path.write_text(made, encoding="utf-8")
    schema = without_absent_kinds(json.loads(path.read_text(encoding="utf-8")))
    assert json.dumps(schema, indent=1, ensure_ascii=False) + "\n" == made


def without_absent_kinds(schema):
    """Leave out kinds of sources of plug-in packages that this run does without."""
    definitions = schema["$defs"]
    kinds = {name.removeprefix("source_") for name in definitions if name.startswith("source_")} - {"without_kind"}
    absent = {f"source_{kind}" for kind in kinds - set(plugins.list_plugins("sources"))}
    options = {option for name in absent for option in definitions[name]["properties"]}
    for kind in set(plugins.list_plugins("sources")):
        options -= definitions[f"source_{kind}"]["properties"].keys()
    names = definitions["source_without_kind"]["propertyNames"]
    names["enum"] = [option for option in names["enum"] if option not in options]
    references = [{"$ref": f"#/$defs/{name}"} for name in absent]

    def prune(value):
        if isinstance(value, dict):
            return {key: prune(item) for key, item in value.items() if key not in absent}
        return [prune(item) for item in value if item not in references] if isinstance(value, list) else value

    return prune(schema)


def is_part_of(part: object, whole: object) -> bool:
    """Return whether a schema lacks only some definitions, choices and names of another one."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and is_part_of(value, whole[key]) for key, value in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return all(any(is_part_of(item, other) for other in whole) for item in part)
    return part == whole


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
    text = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    (tmp_path / "hven.toml").write_text(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])
    assert load_settings(tmp_path, {}).root_path == "/hven"
