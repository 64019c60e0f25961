"""What holds for every plug-in package: its record, its README, and that nothing outside names it."""

from __future__ import annotations

import ast
import re
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from hven.model import plugins
from hven.model.plugins import PluginPackage
from hven.site.store._database import metadata as core_metadata
from hven.site.store._package_tables import load_table_set
from shared import ROOT

PACKAGES = ROOT / "src/hven/plugins"
NAMES = sorted(path.parent.name for path in PACKAGES.glob("*/plugin.py"))
README_HEADINGS = ["Try it", "What it uses from the core", "How it is built", "Pages"]
# What packages may import of the core. A module is added when a package needs it, and stays as it is from then on: plug-ins
# of other projects are built on it.
API_MODULES = frozenset(
    [
        "hven",
        "hven.adql",
        "hven.adql.adql_writer",
        "hven.adql.functions",
        "hven.adql.grouping",
        "hven.adql.reserved_words",
        "hven.adql.scope",
        "hven.adql.signatures",
        "hven.adql.sql_writer",
        "hven.adql.syntax_tree",
        "hven.adql.value_kinds",
        "hven.adql.vocabularies",
        "hven.app.api",
        "hven.app.remote_query",
        "hven.descriptor.api.column_names",
        "hven.descriptor.api.file_replacement",
        "hven.descriptor.api.key_proposals",
        "hven.descriptor.api.keys",
        "hven.descriptor.api.descriptor_sections",
        "hven.descriptor.api.hfc_columns",
        "hven.descriptor.api.table_descriptions",
        "hven.descriptor.api.yaml_text",
        "hven.descriptor.value_schema",
        "hven.descriptor.written_yaml",
        "hven.descriptor",
        "hven.descriptor.observations",
        "hven.engines",
        "hven.engines.api.dialects",
        "hven.engines.api.engine_functions",
        "hven.engines.api.executions",
        "hven.engines.api.geometry_analysis",
        "hven.engines.api.query_analysis",
        "hven.engines.api.region_cells",
        "hven.engines.api.rows",
        "hven.engines.api.sky_functions",
        "hven.engines.api.snapshots",
        "hven.engines.api.statistics",
        "hven.engines.row_fetching",
        "hven.formats",
        "hven.formats.api.json_cells",
        "hven.formats.api.png_pictures",
        "hven.formats.api.xml_input",
        "hven.formats.media",
        "hven.formats.media.api",
        "hven.formats.votable",
        "hven.ingest.api.changes",
        "hven.ingest.api.ledgers",
        "hven.ingest.api.publication",
        "hven.ingest.api.quality",
        "hven.ingest.api.rows",
        "hven.ingest.api.runs",
        "hven.ingest.api.steps",
        "hven.ingest.sync",
        "hven.ingest.sync.change_sets",
        "hven.ingest.source_checks",
        "hven.jobs",
        "hven.jobs.api.mail",
        "hven.jobs.api.worker_processes",
        "hven.jobs.hang_detector",
        "hven.jobs.health",
        "hven.jobs.job_service",
        "hven.jobs.tap",
        "hven.jobs.type_catalogue",
        "hven.model",
        "hven.model.deadlines",
        "hven.model.errors",
        "hven.model.literal",
        "hven.model.params",
        "hven.model.plugins",
        "hven.model.resource",
        "hven.model.settings",
        "hven.model.shape_columns",
        "hven.model.sky",
        "hven.model.sky.api.ragged_arrays",
        "hven.model.sky.api.ring_geometry",
        "hven.model.table",
        "hven.model.types",
        "hven.model.units",
        "hven.portal.api.column_values",
        "hven.portal.api.page_rows",
        "hven.portal.api.landing_pages",
        "hven.portal.api.login_pages",
        "hven.portal.api.markdown_pages",
        "hven.portal.api.pages",
        "hven.portal.api.plots",
        "hven.portal.api.search_forms",
        "hven.portal.api.table_downloads",
        "hven.portal.api.table_links",
        "hven.portal.api.table_pages",
        "hven.portal.api.table_places",
        "hven.portal.api.table_rows",
        "hven.portal.conditions",
        "hven.query",
        "hven.query.cited_results",
        "hven.query.query_queue",
        "hven.query.uploads",
        "hven.query.resolver",
        "hven.services",
        "hven.services.address_rewriting",
        "hven.services.addresses",
        "hven.services.admission",
        "hven.services.api.positions",
        "hven.services.api.files",
        "hven.services.api.responses",
        "hven.services.api.threads",
        "hven.services.api.vosi",
        "hven.services.citations",
        "hven.services.collection_files",
        "hven.services.datalinks",
        "hven.services.errors",
        "hven.services.face",
        "hven.services.file_archives",
        "hven.services.file_preparation",
        "hven.services.file_rows",
        "hven.services.params",
        "hven.services.remote_files",
        "hven.services.scripts",
        "hven.services.source_dates",
        "hven.services.tasks",
        "hven.services.uws",
        "hven.services.uws_documents",
        "hven.site",
        "hven.site.api.account_users",
        "hven.site.api.events",
        "hven.site.api.row_changes",
        "hven.site.api.state_tables",
        "hven.site.api.store_tables",
        "hven.site.auth",
        "hven.site.auth.session",
        "hven.site.history",
        "hven.site.server_processes",
        "hven.site.state_faults",
        "hven.site.store",
        "hven.site.store.ingest_runs",
        "hven.site.user_tables",
        "hven.sources",
        "hven.sources.api.cells",
        "hven.sources.api.documents",
        "hven.sources.api.fetched_files",
        "hven.sources.api.file_access",
        "hven.sources.api.file_rows",
        "hven.sources.api.header_rows",
        "hven.sources.api.key_paging",
        "hven.sources.api.rows",
        "hven.sources.api.services",
        "hven.sources.api.watermarks",
        "hven.sources.file_kinds",
        "hven.sources.file_readers",
        "hven.sources.fits_headers",
        "hven.sources.http_client",
        "hven.sources.kind_traits",
        "hven.sources.remote_stores",
        "hven.sources.site_programs",
        "hven.sources.source_keys",
    ]
)

# modules of web/src that scripts of packages may import as `hven/NAME.js`
API_SCRIPTS = frozenset(
    [
        "answers",
        "axis_scale",
        "colour_maps",
        "colours",
        "completion",
        "copy_button",
        "dom",
        "lightbox",
        "npy",
        "plot_drawing",
        "row_pictures",
        "table_cells",
        "ticks",
        "workspace",
    ]
)
SCRIPT_IMPORT_PATTERN = re.compile(r"""(?:\bfrom|@import\s.*\bfrom|\bimport\()\s*["']([^"']+)["']""")


def load_record(name: str) -> PluginPackage:
    record: PluginPackage = import_module(f"hven.plugins.{name}.plugin").PLUGIN
    return record


def list_imports(path: Path) -> set[str]:
    """List the modules of Hven that a file imports; a name of a package that is a module counts as one."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                place = ROOT / "src" / Path(*node.module.split("."), alias.name)
                is_module = place.with_suffix(".py").exists() or (place / "__init__.py").exists()
                modules.add(f"{node.module}.{alias.name}" if is_module else node.module)
    return {module for module in modules if module.split(".")[0] == "hven"}


def is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def list_extended_packages(name: str, path: Path) -> list[str]:
    """List the packages that a file may import, because only their extension points load its folder: `lint/` for lint."""
    points = load_record(name).extensions
    extended = {point.partition(".")[0] for point in points}
    folder = path.relative_to(PACKAGES / name).parts[0]
    return [f"hven.plugins.{folder}"] if folder in extended else []


def test_every_folder_is_found() -> None:
    folders = sorted(path.name for path in PACKAGES.iterdir() if path.is_dir() and path.name != "__pycache__")
    assert folders == NAMES
    assert {package.name for package in plugins.list_installed_packages()} >= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_record_and_the_readme_describe_the_package(name: str) -> None:
    record = load_record(name)
    assert record.name == name
    assert 10 < len(record.title) < 120
    readme = (PACKAGES / name / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", readme, re.MULTILINE) == README_HEADINGS
    assert any((ROOT / "tests/plugins" / name).glob("test_*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_package_imports_the_modules_for_plugins_and_what_it_declares(name: str) -> None:
    allowed = [f"hven.plugins.{other}" for other in (name, *load_record(name).uses)]
    others = {
        module
        for path in (PACKAGES / name).rglob("*.py")
        for module in list_imports(path)
        if not any(is_inside(module, package) for package in (*allowed, *list_extended_packages(name, path)))
    }
    assert others <= API_MODULES


@pytest.mark.parametrize("name", NAMES)
def test_scripts_of_a_package_import_the_modules_for_scripts(name: str) -> None:
    folder = PACKAGES / name / "scripts"
    assert load_record(name).scripts == (f"hven.plugins.{name}:scripts" if folder.exists() else "")
    imported = {
        (path, match[1])
        for path in folder.rglob("*.js")
        for match in SCRIPT_IMPORT_PATTERN.finditer(path.read_text(encoding="utf-8"))
    }
    core_modules = {
        place.removeprefix("hven/").removesuffix(".js") for _, place in imported if place.startswith("hven/")
    }
    assert core_modules <= API_SCRIPTS
    for path, place in imported:
        assert not place.startswith(".") or (path.parent / place).resolve().is_relative_to(folder)


def test_each_pane_has_one_module() -> None:
    main_script = (ROOT / "web/src/main.js").read_text(encoding="utf-8")
    panes = re.findall(r"^  (\w+): \(\) => import\(", main_script, re.MULTILINE)
    panes += [path.stem for path in PACKAGES.glob("*/scripts/*.js")]
    assert len(panes) > 25
    assert sorted(set(panes)) == sorted(panes)
    assert {path.name.partition(".")[0] for path in (ROOT / "web/src").iterdir()} >= API_SCRIPTS


def test_every_module_for_plugins_exists() -> None:
    for module in API_MODULES:
        import_module(module)
    assert not [module for module in API_MODULES if any(part.startswith("_") for part in module.split("."))]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_outside_names_the_package(name: str) -> None:
    """Pages may link to it: their links become text where it is deleted."""
    words = [
        "git",
        "grep",
        "-lE",
        "--untracked",
        rf"\bplugins[./]{name}\b",
        "--",
        "*.py",
        "*.toml",
        "*.sh",
        ".importlinter",
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    own = (f"src/hven/plugins/{name}/", f"tests/plugins/{name}/")
    users = tuple(
        f"{folder}/plugins/{other}/"
        for other in NAMES
        if name in load_record(other).uses or any(is_inside(point, name) for point in load_record(other).extensions)
        for folder in ("src/hven", "tests")
    )
    data = ("tests/calibration/old_faults.toml",)  # those of a deleted package are passed over
    assert [path for path in done.stdout.splitlines() if not path.startswith(own + users + data)] == []


def test_tables_in_the_system_state_are_those_of_the_records() -> None:
    owners = dict.fromkeys(core_metadata.tables, "the core")
    for name in NAMES:
        store_tables = load_record(name).store_tables
        if store_tables is None:
            continue
        table_set = load_table_set(name, store_tables)
        assert set(table_set.metadata.tables) == set(store_tables.names)
        assert sorted(table_set.upgrade_steps) == list(range(1, store_tables.format))
        assert [(table, owners[table]) for table in store_tables.names if table in owners] == []
        owners |= dict.fromkeys(store_tables.names, name)


def test_packages_use_each_other_without_cycles_and_at_most_two_deep() -> None:
    records = {name: load_record(name) for name in NAMES}

    def measure_depth(name: str, users: tuple[str, ...] = ()) -> int:
        assert name not in users, f"{' -> '.join((*users, name))} is a cycle"
        used_names = records.keys() & set(records[name].uses)  # a package that is used may be deleted
        return max((1 + measure_depth(used, (*users, name)) for used in used_names), default=0)

    assert max(map(measure_depth, NAMES), default=0) <= 2
