"""What the reference pages take from the source: generated parts between comments, and the keys of descriptors.

UPDATE_GOLDEN=1 rewrites the generated parts (never in CI).
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hven.descriptor._key_sections import KEY_SECTIONS as CORE_KEY_SECTIONS
from hven.descriptor._key_sections import list_key_sections
from hven.descriptor._package_keys import KeyReferenceSection
from hven.descriptor.value_schema import DescriptorSection
from hven.model import plugins
from hven.model.settings import Settings, SettingsSection, collect_setting_docs
from hven.model.settings._sections import has_named_entries
from hven.model.settings._setting_examples import GENERAL_EXAMPLES
from hven.model.settings._validation import collect_settings_sections
from plugin_needs import leads_to_absent_package, list_absent_packages, list_package_pages
from shared import ROOT

if TYPE_CHECKING:
    from pydantic import BaseModel

REFERENCE = ROOT / "docs" / "reference"
UPDATE = bool(os.environ.get("UPDATE_GOLDEN")) and os.environ.get("CI") != "true"
KEY_SECTIONS = list_key_sections()  # loads the records of packages, too
KEY_RECORDS = {
    model.record.name: model.record
    for model in DescriptorSection.__subclasses__()
    if model.__module__.endswith("_keys") and model.record.name != "assigned"
}
SECTIONS_BY_NAME = {section.name: section for section in KEY_SECTIONS}
KEY_MARKER = re.compile(r"<!-- keys: ([\w ]+) -->")
PARENT_TEXTS = {"collection": "At the top of a descriptor:", "table": "In a table:"}


def keep_part(page: Path, begin: str, end: str, content: str) -> None:
    """Compare the part of a page between two comments with its content; write it with UPDATE_GOLDEN.

    Lines that link to a plug-in package that is absent are passed over, and nothing is written.
    """
    pattern = re.compile(rf"({re.escape(begin)}\n).*?({re.escape(end)})", re.DOTALL)
    if UPDATE and not list_absent_packages():
        text = page.read_text(encoding="utf-8")
        page.write_text(pattern.sub(lambda match: match[1] + content + match[2], text), encoding="utf-8")
    match = pattern.search(page.read_text(encoding="utf-8"))
    assert match is not None, f"{page.name} lacks {begin}"
    lines = [line for line in match[0].splitlines(keepends=True) if not leads_to_absent_package(line)]
    assert "".join(lines) == f"{begin}\n{content}{end}"


def write_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def find_section_keys(section: KeyReferenceSection) -> list[str]:
    """Return the keys of a section, in its order."""
    record = KEY_RECORDS[section.record]
    unknown = set(section.keys.split()) - record.key_types.keys()
    assert not unknown, f"{section.record} has no key {unknown}"
    return section.keys.split() or list(record.own_key_types)


def write_key_section(section: KeyReferenceSection) -> str:
    """Write what a record is, a table of its keys, and their example."""
    record = KEY_RECORDS[section.record]
    lines = [""]
    if section.record not in {"collection", "table"}:
        short_key = record.short_key
        short_text = ""
        if short_key:
            short_text = (
                f" If `{short_key}` is the only key you need, write its value directly, without `{short_key}:`."
            )
        lines += [f"{record.doc}.{short_text}", ""]
    lines += ["| Key | Meaning |", "|---|---|"]
    for key in find_section_keys(section):
        required_text = " (required)" if key in record.required_keys else ""
        lines.append(f"| `{key}`{required_text} | {write_cell(record.key_docs[key])} |")
    lines.append("")
    if section.shown_in:
        anchor = section.shown_in.replace(" ", "-")
        lines += [f"The example under [{section.shown_in}](#{anchor}) shows these keys.", ""]
    else:
        lines += [PARENT_TEXTS[section.parent], "", "```yaml", section.example.rstrip(), "```", ""]
    return "\n".join(lines) + "\n"


def find_key_anchors() -> dict[str, tuple[Path, str]]:
    """Find the page and the anchor of each section of keys."""
    places = {}
    for page in [*sorted((REFERENCE / "descriptor").glob("*.md")), *list_package_pages()]:
        anchor = ""
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith("#"):
                heading = line.lstrip("# ").lower().replace("`", "")
                anchor = re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")
            elif match := KEY_MARKER.fullmatch(line):
                places[match[1]] = (page, anchor)
    return places


def write_key_index() -> str:
    """Write a list of all keys by record, each with a link to its section; keys of packages have lines of their own."""
    places = find_key_anchors()
    core_records = dict.fromkeys(["collection", "table", "column", *(s.record for s in CORE_KEY_SECTIONS)])
    links: dict[str, dict[str, str]] = {name.replace("_", " "): {} for name in core_records}
    for section in KEY_SECTIONS:
        page, anchor = places[section.name]
        group = section.record.replace("_", " ")
        if REFERENCE not in page.parents and section.record in core_records:
            group = f"{group}, added by the package {page.parent.parent.name}"
        for key in find_section_keys(section):
            address = os.path.relpath(page, REFERENCE)
            links.setdefault(group, {}).setdefault(key, f"[`{key}`]({address}#{anchor})")
    lines = [f"* **{group}**: {', '.join(key_links.values())}" for group, key_links in links.items()]
    return "\n" + "\n".join(lines) + "\n\n"


def write_example(name: str, value: Any) -> str:
    """Write an option with its example, as YAML has it."""
    text = yaml.safe_dump({name: value}, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1000)
    return text.strip().removeprefix("{").removesuffix("}")


def write_options(model: type[BaseModel], names: Collection[str] | None = None) -> str:
    """Write a table of the options of a source: each with its meaning, its default and an example."""
    lines = ["", "| Option | Meaning | Example |", "|---|---|---|"]
    for attribute, field in model.model_fields.items():
        name = field.alias or attribute
        if names is not None and name not in names:
            continue
        assert field.description, f"{model.__module__}.{name} has no description"
        assert field.examples, f"{model.__module__}.{name} has no example"
        meaning = field.description
        is_plain = isinstance(field.default, str | int | float) and not isinstance(field.default, bool)
        if is_plain and field.default != "" and "efault" not in meaning and field.default != "auto":
            meaning += f" Default: `{field.default}`."
        required_text = " (required)" if field.is_required() else ""
        example = write_cell(write_example(name, field.examples[0]))
        lines.append(f"| `{name}`{required_text} | {write_cell(meaning)} | `{example}` |")
    return "\n".join(lines) + "\n\n"


def list_source_pages() -> list[Path]:
    """List the pages of kinds of sources: those of the reference, and those of the plug-in packages in use."""
    pages = sorted((REFERENCE / "sources").glob("*.md"))
    return pages + [page for page in list_package_pages() if "<!-- options: " in page.read_text(encoding="utf-8")]


def find_option_pages() -> dict[str, Path]:
    """Find the page that has the options of each kind of source."""
    return {
        name: page
        for page in [REFERENCE / "sources.md", *list_source_pages()]
        for name in re.findall(r"<!-- options: ([\w ]+) -->", page.read_text(encoding="utf-8"))
    }


def write_list_of_kinds(modules: Mapping[str, Any]) -> str:
    """Write a table of the kinds of sources, each with a link to its section."""
    pages = find_option_pages()
    lines = ["", "| Kind | Use it to |", "|---|---|"]
    for kind, module in modules.items():
        page = os.path.relpath(pages[kind], REFERENCE)
        lines.append(f"| [`{kind}`]({page}#{kind}) | {module.__doc__.strip().splitlines()[0]} |")
    return "\n".join(lines) + "\n\n"


SECTION_ORDER = ["limits", "jobs", "schedule", "alerts", "health"]


def write_setting_default(default: Any) -> str:
    if default in (None, MISSING, "", (), {}) or is_dataclass(default):
        return ""
    value = list(default) if isinstance(default, tuple) else default
    return f"`{write_cell(json.dumps(value, ensure_ascii=False))}`"


def write_settings_table(settings_class: type, names: Collection[str], prefix: str = "") -> list[str]:
    """Write a table of settings with their defaults."""
    lines = ["| Setting | Default | Meaning |", "|---|---|---|"]
    fields_by_name = {field.name: field for field in fields(settings_class)}
    for name in names:
        field = fields_by_name[name]
        is_required = field.default is field.default_factory is MISSING
        required_text = " (required)" if is_required and name != "name" else ""
        meaning = write_cell(field.metadata["doc"])
        lines.append(f"| `{prefix}{name}`{required_text} | {write_setting_default(field.default)} | {meaning} |")
    return lines


def list_general_settings(example: str) -> list[str]:
    """List the settings of an example that has no section, in its order."""
    return list(tomllib.loads(example))


def list_package_sections() -> dict[str, list[SettingsSection]]:
    """List the sections and parts of sections that plug-in packages add, by package."""
    return {
        package.name: [plugins.load_named_object(place, "the reference") for place in package.settings.values()]
        for package in plugins.list_plugin_packages()
        if package.settings
    }


def write_settings() -> str:
    """Write all settings by section, each with an example; packages have them on pages of their own."""
    lines = []
    for title, example in GENERAL_EXAMPLES.items():
        table = write_settings_table(Settings, list_general_settings(example))
        lines += ["", f"## {title}", "", *table, "", "```toml", example.rstrip(), "```"]
    package_keys = {section.key for sections in list_package_sections().values() for section in sections}
    sections = {key: section for key, section in collect_settings_sections().items() if key not in package_keys}
    for name in [*SECTION_ORDER, *sorted(sections.keys() - set(SECTION_ORDER))]:
        lines += write_settings_section(sections[name], "##")
    return "\n".join(lines) + "\n\n"


def write_settings_section(section: SettingsSection, level: str) -> list[str]:
    """Write a section, or the settings that a package adds to one."""
    name = section.name
    names = [field.name for field in fields(section.settings_class) if field.metadata]
    heading = f"[[{name}]]" if section.is_repeated else f"[{name}]"
    if has_named_entries(section.settings_class):
        heading = f"[{name}.NAME]"
        names.remove("name")
    table = write_settings_table(section.settings_class, names, f"{name}.")
    text = f"Added to `{heading}`:" if section.part else f"`{heading}`: {collect_setting_docs()[name]}."
    lines = ["", f"{level} {heading.strip('[]')}", "", text, "", *table]
    return [*lines, "", "```toml", section.example_text.rstrip(), "```"]


def write_package_settings(package: str) -> str:
    """Write the settings of a plug-in package."""
    lines = [line for section in list_package_sections()[package] for line in write_settings_section(section, "###")]
    return "\n".join(lines) + "\n\n"
