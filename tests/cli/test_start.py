"""What a start of ``hven`` loads: modules that take long to import are loaded by the verbs that need them, and by no others."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hven.app._cli import verbs
from hven.model import plugins
from plugin_needs import load_core_fixtures
from shared import ROOT

# pandas is in none of the sets below: no verb of ours needs it, wherever it is installed
HEAVY = frozenset(
    [
        "PIL",
        "aiohttp",
        "argon2",
        "astropy",
        "cdshealpix",
        "duckdb",
        "fsspec",
        "granian",
        "h5netcdf",
        "h5py",
        "httpx",
        "jinja2",
        "joserfc",
        "lxml",
        "markdown_it",
        "matplotlib",
        "mocpy",
        "numpy",
        "pandas",
        "psycopg",
        "pyarrow",
        "pyspark",
        "regions",
        "rich",
        "scipy",
        "shapely",
        "sqlalchemy",
        "ssl",
        "starlette",
        "sunpy",
        "xarray",
    ]
)
VERBS = verbs.VERB_MODULES | {name: file for name, (file, _, _) in verbs.VERB_GROUPS.items()}
FILES = {file: name for name, file in VERBS.items()}  # each with one of its verbs
ROWS = frozenset({"numpy", "pyarrow"})
SITE = ROWS | {"sqlalchemy", "ssl"}  # SQLAlchemy loads asyncio, which loads ssl
INGEST = SITE | {"lxml"}
SERVICES = INGEST | {"starlette"}
NEEDED: dict[str, frozenset[str]] = (
    dict.fromkeys(("init", "referees"), frozenset())  # they open the site only when they run
    | dict.fromkeys(("check", "descriptor_schema"), ROWS)
    | dict.fromkeys(("verify", "project_members", "delegate", "accounts"), SITE)
    | dict.fromkeys(("publish", "query_commands", "release_commands", "status_commands", "sync"), INGEST)
    | {"preparation": SERVICES, "serve": SERVICES | {"granian", "markdown_it"}}
)
PROGRAM = """
import json, sys
import hven.app
code = hven.app.main()
print(json.dumps([name for name, module in sys.modules.items() if module is not None and "." not in name]), file=sys.stderr)
sys.exit(code)
"""


def load(*words: str) -> set[str]:
    """Give the heavy modules that a start with these words has loaded at its end."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=True)
    return HEAVY & set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["-h"]], ids=" ".join)
def test_help_and_version_load_no_heavy_module(words: list[str]) -> None:
    assert load(*words) == set()


@pytest.mark.parametrize("file", FILES)
def test_a_verb_loads_only_the_heavy_modules_that_it_needs(file: str) -> None:
    assert load(FILES[file], "--help") <= NEEDED[file]


@pytest.mark.parametrize("name", verbs.list_package_verbs())
def test_a_verb_of_a_package_loads_no_heavier_modules_than_services(name: str) -> None:
    assert load(name, "--help") <= SERVICES | load_core_fixtures("VERB_MODULES").get(name, frozenset())


def test_a_check_loads_no_engine_no_state_and_no_client_of_servers(tmp_path: Path) -> None:
    """Two collections that are not published, whose tables are files as they are."""
    collections = tmp_path / "collections"
    shutil.copytree(ROOT / "examples/01-csv-to-cone/collections/brightest", collections / "brightest")
    shutil.copytree(collections / "brightest", collections / "stars")
    descriptor = (collections / "stars/brightest.yaml").rename(collections / "stars/stars.yaml")
    descriptor.write_text(descriptor.read_text().replace("brightest", "stars"))
    (tmp_path / "hven.toml").write_text('name = "small"\n')
    assert load("check", "--site", str(tmp_path)) == ROWS


def test_the_collector_runs_for_the_verb_and_skips_the_modules() -> None:
    program = "import gc, hven.app; hven.app.main(); print(gc.isenabled(), gc.get_freeze_count() > 10_000)"
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True True"


def test_records_of_plugin_packages_load_nothing_but_themselves() -> None:
    program = "import json, sys; from hven.model import plugins; plugins.list_plugin_packages(); print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    names = [package.name for package in (*plugins.list_plugin_packages(), *plugins.list_disabled_packages())]
    expected = {"hven.plugins"} | {f"hven.plugins.{name}{end}" for name in names for end in ("", ".plugin")}
    assert {module for module in loaded if module.startswith("hven.plugins")} == expected
    assert not HEAVY & set(loaded)


def test_every_verb_says_what_it_needs() -> None:
    assert set(NEEDED) == set(FILES)


def test_help_reads_of_each_verb_what_the_parser_of_python_reads() -> None:
    for place in (*(f"hven.app._cli.{file}:{name}" for name, file in verbs.VERB_MODULES.items()), *(verb.function for verb in verbs.list_package_verbs().values() if not verb.group_help)):  # fmt: skip
        module, _, name = place.partition(":")
        spec = importlib.util.find_spec(module)
        assert spec is not None
        tree = ast.parse(Path(str(spec.origin)).read_text(encoding="utf-8"))
        [function] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
        assert verbs._read_verb_docstring(place) == ast.get_docstring(function), place


def test_help_reads_verbs_of_others_however_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "strange_engine.py").write_text(
        "def other(caller):\n    return 1\n\ndef one(caller\n\n):\n    'Do one thing.'\n\ndef two(caller): 'Do two.'\n\ndef none(caller):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    told = [verbs._read_verb_docstring(f"strange_engine:{name}") for name in ("one", "two", "none", "missing")]
    assert told == ["Do one thing.", "Do two.", None, None]
