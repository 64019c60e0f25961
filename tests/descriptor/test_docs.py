"""The reference pages have every key, option and setting, in the words of the code.

UPDATE_GOLDEN=1 rewrites the generated parts (never in CI).
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from hven.descriptor import build_json_schema, load_descriptor
from hven.descriptor.value_schema import DescriptorSection
from hven.engines.postgres.settings import PostgresSettings
from hven.model import plugins
from hven.model.settings import QueryLimits, Settings, collect_setting_docs
from hven.model.settings._sections import JobLimits, ResolverSettings, TreeSettings

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
UPDATE = bool(os.environ.get("UPDATE_GOLDEN")) and os.environ.get("CI") != "true"


def keep(page, part, made):
    path = REFERENCE / page
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {part} -->\n).*?(<!-- /{part} -->)", re.DOTALL)
    if UPDATE:
        path.write_text(pattern.sub(lambda match: match[1] + made + match[2], text), encoding="utf-8")
        text = path.read_text(encoding="utf-8")
    match = pattern.search(text)
    assert match is not None
    assert match[0] == f"<!-- {part} -->\n{made}<!-- /{part} -->"


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


ORDER = [
    "collection",
    "table",
    "access",
    "access",
    "column",
    "person",
    "lookup",
    "granule",
    "rule",
    "flags",
    "vocabulary",
    "embargo",
    "term",
    "link",
    "service",
    "input",
    "derived",
    "series",
    "time",
    "part",
    "variable",
    "bins",
    "vector",
    "endpoint",
    "parameter",
    "shape",
    "sync",
    "deletions",
    "guard",
    "schedule",
    "key",
    "group",
    "param",
    "frame",
    "partition",
    "obscore",
    "loop",
    "functions",
    "test",
    "example",
    "tables_loop",
    "file",
    "contributor",
    "grant",
    "related_work",
    "registry",
    "registry_service",
    "registry_relation",
]


def test_every_key():
    known = [one for one in DescriptorSection.__subclasses__() if one.__module__.endswith("_keys")]
    records = {one.record.name: one.record for one in known}
    assert {*ORDER, "assigned"} == records.keys()
    made = ""
    for record in map(records.__getitem__, ORDER):
        made += f"\n### {record.name.replace('_', ' ')}\n\n{record.doc}"
        if record.short_key:
            made += f". A bare word stands for `{record.short_key}`"
        made += ".\n\n| key | meaning |\n|---|---|\n"
        made += "".join(
            f"| `{key}`{' (required)' if key in record.required_keys else ''} | {cell(record.key_docs[key])} |\n"
            for key in record.key_types
        )
    keep("descriptor.md", "keys", made + "\n")


def test_every_option_of_every_source():
    made = ""
    for kind in plugins.list_plugins("sources"):
        module = plugins.load_plugin("sources", kind)
        made += f"\n### source: {kind}\n\n{(module.__doc__ or '').strip().splitlines()[0]}\n\n| option | meaning |\n|---|---|\n"
        for name, field in module.Options.model_fields.items():
            assert field.description, f"{kind}.{name} has no description"
            made += f"| `{field.alias or name}`{' (required)' if field.is_required() else ''} | {cell(field.description)} |\n"
    keep("descriptor.md", "sources", made + "\n")


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
    keep("settings.md", "settings", "".join(f"| `{name}` | {shown(name)} | {cell(doc)} |\n" for name, doc in told))


def test_the_schema_for_editors():
    path = REFERENCE / "descriptor.schema.json"
    made = json.dumps(build_json_schema(), indent=1, ensure_ascii=False) + "\n"
    if UPDATE:
        path.write_text(made, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == made


@pytest.mark.parametrize("number", [0, 1])
def test_the_pages_examples_are_right(number, tmp_path):
    text = (REFERENCE / "descriptor.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    home = tmp_path / "collections" / "brightest"
    home.mkdir(parents=True)
    (home / "stars.csv").write_text("name,ra,dec,vmag,m_u,m_g,m_r\nSirius,101.3,-16.7,-1.4,1,2,3\n")
    whole = blocks[0] + (blocks[1] if number else "")
    (home / "brightest.yaml").write_text(whole)
    names = [
        column.name
        for column in load_descriptor(home / "brightest.yaml", Settings(directory=tmp_path)).tables[0].table.columns
    ]
    assert names == ["name", "ra", "dec", "vmag", *(["mag_u", "mag_g", "mag_r"] if number else [])]


def test_the_settings_example_is_right(tmp_path):
    from hven.model.settings import load_settings

    text = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    (tmp_path / "hven.toml").write_text(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])
    assert load_settings(tmp_path, {}).root_path == "/hven"
