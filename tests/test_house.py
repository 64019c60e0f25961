"""The house keeps its rules: floors, sizes, first lines, and nothing of one machine in what is published."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from package_figures import PLUGIN_PACKAGES, measure_source, write_import_picture, write_package_table
from requirements import require
from shared import ROOT
from source_trees import SOURCE_GROUP, read_source
from type_checker import run_mypy

SOURCE = ROOT / "src" / "hven"
MODULES = sorted(SOURCE.rglob("*.py"))
LONGEST = 1000
NEWLINE = b"\n"
# who may import what, the local imports in functions included: driver -> rooms
HELD = {
    "duckdb": {"sources", "engines", "plugins"},
    "psycopg": {"sources", "plugins"},
    "adbc_driver_manager": {"plugins"},
    "adbc_driver_postgresql": {"sources", "plugins"},
    "sqlalchemy": {"site", "sources", "plugins"},
    "httpx": {"sources", "testing"},
    "ldap3": {"plugins"},
    "regions": {"model"},
    "starlette": {"services", "portal", "app", "testing", "plugins"},
    "granian": {"app"},
    "typer": {"app", "plugins"},
    "rich": {"app", "plugins"},
    "lxml": {"sources", "formats", "services", "portal", "plugins", "model", "descriptor", "testing"},
    "yaml": {"descriptor", "app", "sources", "plugins"},
    "PIL": {"formats", "plugins"},
}
# heavy: a module that imports one of them at its top makes every start slow
HEAVY = {"PIL", "astropy", "mocpy", "shapely", "cdshealpix", "duckdb", "psycopg", "sqlalchemy"}
SLOW_TO_START = {"model", "adql"}

pytestmark = SOURCE_GROUP


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return parts[0].removesuffix(".py")


def text(path: Path) -> str:
    return read_source(path).text


def imports(nodes):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def run(*command, timeout=1800):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)


def tool(word: str) -> str:
    path = Path(sys.executable).parent / word
    assert path.exists(), f"{word} is not installed beside the interpreter"
    return str(path)


def test_the_tree_was_found():
    assert len(MODULES) > 60


def test_floors_hold():
    done = run(tool("lint-imports"), "--no-cache")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "KEPT" in done.stdout


def test_the_floors_name_every_room():
    """The contract is exhaustive only as long as nobody takes that word out of it."""
    contract = (ROOT / ".importlinter").read_text(encoding="utf-8")
    assert re.search(r"^exhaustive\s*=\s*true", contract, re.MULTILINE | re.IGNORECASE)
    words = set(re.findall(r"[a-z_]+", contract))
    assert {room(path) for path in MODULES} - {"__init__"} <= words


MAX_CORE_TOKENS = 1_000_000  # of all packages but the plug-ins
MAX_PLUGIN_TOKENS = {"postgres": 120_000, "series": 120_000}  # of others: 80,000
PUBLIC = 12  # modules of a room
# what is still to be mended (docs/decisions/012-packages.md): these come down with each step, and go
ARROWS, PAST, INSIDE, REUSED, HIDDEN, PROBES = 79, 0, 0, 2, 7, 10


def test_rooms_are_few_and_little_joined():
    found = measure_source()
    assert len([one for one in found.tokens if one]) <= 16
    # what plug-in packages import is held by their own list (tests/plugins/test_packages.py)
    pairs = sorted(pair for pair in found.package_imports if pair[0] != "plugins")
    assert len(pairs) <= ARROWS, pairs


def test_the_core_and_each_plug_in_package_are_small():
    found = measure_source()
    assert sum(found.tokens.values()) - found.tokens["plugins"] <= MAX_CORE_TOKENS
    large = {name: count for name, count in found.plugin_tokens.items() if count > MAX_PLUGIN_TOKENS.get(name, 80_000)}
    assert large == {}


def test_rooms_have_few_public_modules_and_others_import_no_more():
    found = measure_source()
    many = {
        one: sorted(those)
        for one, those in found.public.items()
        if one not in PLUGIN_PACKAGES and len([module for module in those if ".api" not in module]) > PUBLIC
    }
    assert many == {}
    assert len(found.private_imports) <= PAST, found.private_imports
    assert len(found.plugin_internal_imports) <= INSIDE, found.plugin_internal_imports


def test_a_file_name_stands_in_one_room():
    assert len(measure_source().reused) <= REUSED, measure_source().reused


def test_imports_stand_at_the_top_and_nothing_is_probed_by_name():
    assert len(measure_source().function_imports) <= HIDDEN, measure_source().function_imports
    assert len(measure_source().attribute_probes) <= PROBES, measure_source().attribute_probes


def test_the_page_names_every_package():
    """UPDATE_GOLDEN=1 writes its table anew (never in CI)."""
    check_generated_part("packages", write_package_table())


def test_the_page_has_a_picture_of_the_imports():
    shown = re.findall(r"^\| `(\w+)` \|", read_generated_part("imports"), re.MULTILINE)
    deleted = sorted(name for name in shown if not (SOURCE / "plugins" / name / "plugin.py").exists())
    if deleted and not os.environ.get("UPDATE_GOLDEN"):
        pytest.skip(f"the picture shows deleted packages: {', '.join(deleted)}; UPDATE_GOLDEN=1 writes it anew")
    check_generated_part("imports", write_import_picture())


def read_generated_part(mark: str) -> str:
    text = (ROOT / "docs" / "explained" / "packages.md").read_text(encoding="utf-8")
    return text.partition(f"<!-- {mark} -->\n")[2].partition(f"<!-- end of {mark} -->")[0]


def check_generated_part(mark: str, expected: str) -> None:
    page = ROOT / "docs" / "explained" / "packages.md"
    before, begin, rest = page.read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")
    end = f"<!-- end of {mark} -->"
    told = f"{before}{begin}{expected}\n{end}{rest.partition(end)[2]}"
    if os.environ.get("UPDATE_GOLDEN") and os.environ.get("CI") != "true":
        page.write_text(told, encoding="utf-8")
    assert begin
    assert page.read_text(encoding="utf-8") == told


MAX_CHANGELOG_LINES = 80  # of one version: what it is, not how it came to be


def test_changelog_says_in_a_page_what_this_version_brings():
    """towncrier writes a new version below its mark; without the mark it would write above the title."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    before, mark, versions = changelog.partition("<!-- towncrier release notes start -->\n")
    assert mark
    assert before.startswith("# Changelog\n")
    assert f"\n## {version} (" in versions
    too_long = [
        section.split("\n")[0] for section in versions.split("\n## ")[1:] if section.count("\n") > MAX_CHANGELOG_LINES
    ]
    assert too_long == []


FRAGMENT_KINDS = {"security", "added", "changed", "fixed", "removed"}


def test_changelog_fragments_have_a_kind_and_a_text():
    """towncrier ignores a file whose name it does not know, so the change would be lost."""
    faults = []
    for path in sorted((ROOT / "changelog.d").iterdir()):
        parts = path.name.split(".")
        if path.name == "README.md":
            continue
        if len(parts) != 3 or parts[1] not in FRAGMENT_KINDS or parts[2] != "md":
            faults.append(f"{path.name}: the name is not <short-name>.<kind>.md")
        elif not path.read_text(encoding="utf-8").strip():
            faults.append(f"{path.name} is empty")
    assert faults == []


def test_modules_are_short_and_say_what_they_are_for():
    long = [
        f"{name(path)} has more than {LONGEST} lines: split it by meaning"
        for path in MODULES
        if text(path).count("\n") > LONGEST
    ]
    first = {name(path): text(path).partition("\n")[0] for path in MODULES}
    dumb = [
        f"the first line of {one} is not a sentence about it: {line!r}"
        for one, line in first.items()
        if not re.match(r'r?"""\S.{15,}', line)
    ]
    assert [*long, *dumb] == []


def test_most_modules_are_short():
    sizes = sorted(text(path).count("\n") for path in MODULES)
    assert sizes[len(sizes) // 2] <= 250


def test_doors_say_what_their_rooms_are_for_and_export_few_names():
    found = []
    for path in MODULES:
        if path.name != "__init__.py":
            continue
        module = read_source(path).tree
        doc = ast.get_docstring(module)
        if not doc or not doc.splitlines()[0].rstrip().endswith((".", ":")):
            found.append(f"{name(path)} does not say what it is for")
        for node in module.body:
            if isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
            ):
                found += [f"{name(path)} exports too many names"] * (len(ast.literal_eval(node.value)) > 25)
    assert found == []


def test_nothing_is_left_undone_or_hidden():
    found = []
    for path in MODULES:
        found += [
            f"{word} in {name(path)}"
            for word in ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")
            if re.search(rf"\b{word}\b", text(path))
        ]
        for node in read_source(path).find_nodes(ast.ExceptHandler):
            quiet = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
            )
            if quiet and all(isinstance(each, ast.Pass) for each in node.body):
                found.append(f"{name(path)}:{node.lineno} swallows every error")
        for call in read_source(path).find_nodes(ast.Call):
            if isinstance(call.func, ast.Name) and call.func.id in {"eval", "exec"}:
                found.append(f"{name(path)}:{call.lineno} calls {call.func.id}")
    assert found == []


def test_outside_libraries_stay_in_their_rooms():
    found = []
    for path in MODULES:
        used = set(imports(read_source(path).find_nodes(ast.Import, ast.ImportFrom)))
        found += [
            f"{name(path)} imports {one}, which belongs to {sorted(rooms)}"
            for one, rooms in HELD.items()
            if one in used and room(path) not in rooms
        ]
    assert found == []


def test_heavy_libraries_are_imported_on_first_use():
    """A module that imports one at its top makes everybody wait for it."""
    found = {
        name(path): HEAVY & set(imports(read_source(path).tree.body)) for path in MODULES if room(path) in SLOW_TO_START
    }
    assert {one: heavy for one, heavy in found.items() if heavy} == {}


def list_tracked_files() -> list[Path]:
    require("git checkout")
    done = run("git", "ls-files", "-z")
    assert done.returncode == 0, done.stderr
    return [ROOT / word for word in done.stdout.split("\0") if word and (ROOT / word).is_file()]


def test_nothing_tracked_names_this_machine_or_a_registry():
    hosts = [
        "py" + "pi.org",
        "python" + "hosted.org",
        "registry." + "npmjs.org",
        "deb." + "debian.org",
        "security." + "debian.org",
        "index." + "crates.io",
        "proxy." + "golang.org",
    ]
    places = ["/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/Us" + "ers/"]
    pattern = re.compile(
        "|".join(
            [*(re.escape(host) for host in hosts), *(rf"(?<![\w.~}})/-]){re.escape(place)}" for place in places)]
        ).encode()
    )
    words = [word.encode() for word in (*hosts, *places)]
    found = []
    for path in list_tracked_files():
        data = path.read_bytes()
        if not any(word in data for word in words):  # an expression takes ten times as long to say so
            continue
        found += [
            f"{name(path)}:{data.count(NEWLINE, 0, match.start()) + 1}: {match.group().decode()}"
            for match in pattern.finditer(data)
        ]
    assert not found, "\n".join(found)


def test_no_large_or_copied_material_is_tracked():
    large = [f"{name(path)}: {path.stat().st_size:,}" for path in list_tracked_files() if path.stat().st_size > 600_000]
    assert not large, "\n".join(large)


@pytest.mark.slow
def test_ruff_is_content():
    done = run(tool("ruff"), "check", "--no-cache", "src", "tests")
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.mark.slow
def test_signatures_are_short():
    """A call says the names of further arguments: at most five are told by their places alone."""
    done = run(tool("ruff"), "check", "--no-cache", "--preview", "--select", "PLR0917", "src")
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.mark.slow
def test_the_format_is_ruffs():
    done = run(tool("ruff"), "format", "--no-cache", "--check", "src", "tests")
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.mark.slow
def test_types_hold():
    done = run_mypy()
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.mark.parametrize(
    "script", sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file()), ids=lambda path: path.name
)
def test_scripts_list_only_test_files_that_exist(script: Path) -> None:
    listed = re.findall(r"tests/[\w/]+\.py", script.read_text())
    assert not [path for path in listed if not (ROOT / path).exists()]
