"""What tests need of plug-in packages, and which packages are absent: deleted from the checkout, or left out by HVEN_PLUGINS.

A test of the core that uses a plug-in of a package declares it by `require_plugins`; it is skipped where the package is
absent. A test that fails because a plug-in is missing is skipped, too (`absent_plugins`). Tests of the core that try all
plug-ins of a group ask the tests of packages what these need (`load_core_fixtures`). `HVEN_PLUGINS= scripts/test` runs the
tests of the core alone.
"""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from hven.adql.functions import MAPPING_FUNCTIONS
from hven.app._cli import verbs
from hven.formats.media import SIGNATURE_BYTES, detect_product_file_format
from hven.model import plugins
from hven.model.settings import collect_setting_docs
from hven.model.settings._validation import collect_settings_sections
from hven.portal._pages.package_pages import find_package_page_address, list_page_part_templates
from hven.sources import file_kinds
from hven.sources.source_keys import load_source_descriptor_keys
from shared import ROOT

PACKAGES = ROOT / "src/hven/plugins"
# of this run: sites that tests open may select other packages
PACKAGE_NAMES = tuple(package.name for package in plugins.list_plugin_packages())
VERB_NAMES = frozenset([*verbs.VERB_MODULES, *verbs.VERB_GROUPS, *verbs.list_package_verbs()])
_PACKAGE_LINK = re.compile(r"\]\([^)\s]*\bhven/plugins/(\w+)/")
_REGION_FUNCTION = re.compile(r"\b(\w+_contour|contour_\w+|wcs_footprint|disc|chart|sun_[lb]0)\(")
_SIBLING_LINK = re.compile(r"\]\((?:\.\./){1,2}(\w+)/docs/")  # on a page of a package


@cache
def list_absent_packages() -> frozenset[str]:
    """List the packages that pages link to, but that this process does not use."""
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md")]
    linked = {name for page in pages for name in _PACKAGE_LINK.findall(page)}
    return frozenset(linked - set(PACKAGE_NAMES))


def load_core_fixtures(name: str) -> dict[str, Any]:
    """Load what tests of the core use for the plug-ins of packages: a mapping of `core_fixtures.py` of their tests.

    Parameters
    ----------
    name
        Name of the mapping: ``EXAMPLE_SERVERS``. Those of all packages in use are joined.
    """
    return _join_fixtures(name, [package.name for package in plugins.list_plugin_packages()])


def _join_fixtures(name: str, packages: Sequence[str]) -> dict[str, Any]:
    fixtures: dict[str, Any] = {}
    for package in packages:
        path = ROOT / "tests/plugins" / package / "core_fixtures.py"
        if path.exists():
            fixtures |= _run_fixtures(path).get(name, {})
    return fixtures


@cache
def _run_fixtures(path: Path) -> dict[str, Any]:
    sys.path.insert(0, str(path.parent))
    try:
        return runpy.run_path(str(path))
    finally:
        sys.path.remove(str(path.parent))


def list_word_pages(words: str) -> list[str]:
    """List the addresses of pages that search for words; none if the packages that have them are absent.

    Parameters
    ----------
    words
        What is searched for, as it stands in an address.
    """
    return [address.replace("{words}", words) for address in load_core_fixtures("WORD_PAGES")]


def list_query_addresses(*addresses: str) -> list[str]:
    """List addresses of the pages for queries and jobs; none if the package that has them is absent."""
    return list(addresses) if find_package_page_address("query_editor_path", "/") else []


def require_query_editor() -> None:
    """Skip the test if no package in use has pages for queries and jobs."""
    report_missing_plugins([] if list_query_addresses("/") else ["a page for queries"])


def list_statistics_pages(*collections: str) -> list[str]:
    """List the addresses of the statistics of collections; none if the package that has them is absent."""
    return [f"/statistics/{name}" for name in collections] if list_page_part_templates("collection.links") else []


def require_page_part(place: str) -> None:
    """Skip the test if no package in use adds to a place of pages (`hven.portal.api.pages.PAGE_PLACES`)."""
    report_missing_plugins([] if list_page_part_templates(place) else [place])


def require_core_fixtures(name: str) -> None:
    """Skip the test if no package in use has the fixtures of a name (`load_core_fixtures`)."""
    report_missing_plugins([] if load_core_fixtures(name) else [name])


def leads_to_absent_package(text: str) -> bool:
    """Return whether a text links to a package that is absent."""
    names = {*_PACKAGE_LINK.findall(text), *_SIBLING_LINK.findall(text)}
    return not list_absent_packages().isdisjoint(names)


def list_package_directories() -> list[Path]:
    """List the directories of Hven's own packages that this process uses."""
    directories = [PACKAGES / package.name for package in plugins.list_plugin_packages()]
    return [directory for directory in directories if directory.exists()]


def list_package_pages() -> list[Path]:
    """List the pages of the packages that this process uses."""
    return sorted(page for directory in list_package_directories() for page in directory.glob("docs/*.md"))


def require_plugins(group: str, *names: str) -> None:
    """Skip the test if a plug-in is missing because its package is absent; fail if no package is.

    Parameters
    ----------
    group
        A key of `plugins.PLUGIN_GROUPS`.
    names
        Names of plug-ins.
    """
    missing = sorted(set(names) - set(plugins.list_plugins(group)))
    report_missing_plugins(missing)


def has_setting(name: str) -> bool:
    """Return whether Hven or a package in use has a setting; fail if no package is absent that could have it."""
    names = collect_setting_docs()
    if name not in names and not list_absent_packages():
        pytest.fail(f"no setting is called {name}")
    return name in names


def require_setting(name: str) -> None:
    """Skip the test if a setting is missing because its package is absent.

    Parameters
    ----------
    name
        Name of a section, or ``section.setting``.
    """
    report_missing_plugins([] if has_setting(name) else [name])


def draw_files(files: Sequence[tuple[Path, str]], size_pixels: int) -> bytes:
    """Draw files with their names as a picture, or skip the test if no package in use draws files.

    Parameters
    ----------
    files
        Paths, and names by which the contents are known.
    size_pixels
        Size of the longer side.
    """
    draw = load_core_fixtures("PICTURES").get("draw")
    report_missing_plugins([] if draw else ["pictures of files"])
    return bytes(draw(files, size_pixels))  # type: ignore[misc]


def create_descriptor(settings: Any, name: str, source: str, **options: Any) -> Path:
    """Draft a descriptor as `hven new` does, or skip the test if no package in use drafts descriptors.

    Parameters
    ----------
    settings
        Settings of the site.
    name, source
        The collection, and its data.
    options
        Further options, by their names.
    """
    return load_drafter("create_descriptor")(settings, name, source, **options)  # type: ignore[no-any-return]


def write_table_draft(name: str, kind: str, options: dict[str, Any], directory: Path, **more: Any) -> str:
    """Draft the descriptor of one table, or skip the test if no package in use drafts descriptors."""
    return str(load_drafter("write_table_draft")(name, kind, options, directory, **more))


def load_drafter(name: str) -> Any:
    """Load a part of the package that drafts descriptors, or skip the test if no package in use does.

    Parameters
    ----------
    name
        A key of ``DRAFTERS`` in the tests of the package.
    """
    drafters = _join_fixtures("DRAFTERS", PACKAGE_NAMES)
    report_missing_plugins([] if drafters else ["drafts of descriptors"])
    return drafters[name]


def has_package_objects(field_name: str) -> bool:
    """Return whether a package in use names objects in a field of its record; fail if no package is absent.

    Parameters
    ----------
    field_name
        A field of `hven.model.plugins.PluginPackage`: ``job_providers``.
    """
    has_objects = any(package.list_object_references(field_name) for package in plugins.list_plugin_packages())
    if not has_objects and not list_absent_packages():
        pytest.fail(f"no plug-in package has {field_name}")
    return has_objects


def require_package_objects(field_name: str) -> None:
    """Skip the test if no package in use names objects in a field of its record."""
    report_missing_plugins([] if has_package_objects(field_name) else [field_name])


def require_functions(*names: str) -> None:
    """Skip the test if functions of descriptors are missing because their package is absent.

    Parameters
    ----------
    names
        Names in any case.
    """
    report_missing_plugins([name for name in names if MAPPING_FUNCTIONS.find_function(name) is None])


def require_verb(name: str) -> None:
    """Skip the test if a verb is missing because its package is absent."""
    report_missing_plugins([] if name in VERB_NAMES else [f"the verb {name}"])


def build_settings(name: str, /, **values: object) -> Any:
    """Build a section of hven.toml as the settings of a site have it; skip the test if its package is absent.

    Parameters
    ----------
    name
        Name of the section.
    values
        Settings in it.
    """
    require_setting(name)
    return collect_settings_sections()[name].settings_class(**values)


def has_source_key(name: str) -> bool:
    """Return whether a package in use adds a key to sources; fail if none is absent that could add it."""
    has_key = name in load_source_descriptor_keys()
    if not has_key and not list_absent_packages():
        pytest.fail(f"no key of sources is called {name}")
    return has_key


def require_source_key(name: str) -> Any:
    """Return the record of a key of sources, or skip the test if its package is absent."""
    report_missing_plugins([] if has_source_key(name) else [name])
    return load_source_descriptor_keys()[name]


def require_medium(path: Path) -> None:
    """Skip the test if no package in use opens a product file."""
    signature = path.read_bytes()[:SIGNATURE_BYTES]
    report_missing_plugins([] if detect_product_file_format(path.name, signature) else [path.name])


def report_missing_plugins(missing: list[str]) -> None:
    """Skip the test if there are missing plug-ins, or fail if all packages are there."""
    if missing and not list_absent_packages():
        pytest.fail(f"no plug-in is called {', '.join(missing)}")
    if missing:
        pytest.skip(f"no plug-in package in use has {', '.join(missing)}")


def find_missing_plugins(directory: Path) -> list[str]:
    """Find what the descriptors of a site name and no package in use has: kinds, forms of documents, files, functions."""
    missing = set()
    for path in directory.glob("collections/*/*.yaml"):
        names = set(_REGION_FUNCTION.findall(path.read_text(encoding="utf-8")))
        missing |= {name for name in names if MAPPING_FUNCTIONS.find_function(name) is None}
        for source in _iterate_sources(yaml.safe_load(path.read_text(encoding="utf-8"))):
            missing |= set(_list_missing_parts(source))
    return sorted(missing)


def _iterate_sources(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the sources below a node of a descriptor that are written as mappings."""
    if isinstance(node, dict):
        sources = node.get("source")
        yield from (
            source for source in (sources if isinstance(sources, list) else [sources]) if isinstance(source, dict)
        )
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for value in inner:
        yield from _iterate_sources(value)


def _list_missing_parts(source: dict[str, Any]) -> Iterator[str]:
    kind = source.get("kind")
    if isinstance(kind, str) and kind not in plugins.list_plugins("sources"):
        yield kind
    if "enrich" in source and not has_source_key("enrich"):
        yield "enrich"
    elif "enrich" in source:
        form = source["enrich"].get("format", "header")
        if form not in plugins.list_plugins("documents"):
            yield form
    patterns = source.get("members") or source.get("files")
    for pattern in [patterns] if isinstance(patterns, str) else patterns or ():
        extension = pattern.rpartition(".")[2]
        is_archive = extension in file_kinds.COMPRESSED_EXTENSIONS
        is_named = extension.isalnum() and not is_archive
        if kind == "product" and is_named and file_kinds.find_file_kind_by_name(pattern) is None:
            yield pattern
