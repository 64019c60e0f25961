"""What browsers run is judged where it is written: types, what is wrong or has grown too big, how lines are set, and its own tests."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portal_templates import list_templates
from requirements import require
from shared import ROOT

WEB = ROOT / "web"
PACKAGE_SCRIPTS = sorted(ROOT.glob("src/hven/plugins/*/scripts/**/*.js"))
PACKAGE_STYLES = sorted(ROOT.glob("src/hven/plugins/*/scripts/**/*.css"))
PACKAGE_TESTS = sorted(ROOT.glob("tests/plugins/*/*.test.js"))
MODULES = WEB / "node_modules"
CACHE = MODULES / ".cache"
MACRO_IMPORT_PATTERN = re.compile(r'{% import "([^"]+)" as (\w+)')
JUDGES = {
    "types": (MODULES / "typescript/bin/tsc", "--project", WEB),
    "rules": (
        MODULES / "eslint/bin/eslint.js",
        "--config",
        WEB / "eslint.config.js",
        "--cache",
        "--cache-location",
        CACHE / "eslint",
        "--max-warnings",
        "0",
        WEB,
        *PACKAGE_SCRIPTS,
        *PACKAGE_TESTS,
    ),
    "lines": (
        MODULES / "prettier/bin/prettier.cjs",
        "--config",
        WEB / ".prettierrc.json",
        "--ignore-path",
        WEB / ".prettierignore",
        "--cache",
        "--cache-location",
        CACHE / "prettier.json",
        "--log-level",
        "warn",
        "--check",
        WEB,
        *PACKAGE_SCRIPTS,
        *PACKAGE_STYLES,
        *PACKAGE_TESTS,
    ),
    "tests": (
        "--import",
        (WEB / "test/resolver.js").as_uri(),
        "--test",
        "--test-reporter",
        "tap",
        *sorted(WEB.glob("test/*.test.js")),
        *PACKAGE_TESTS,
    ),
}


def node(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the node that bundles: the machine's, or the one from PyPI."""
    spec = importlib.util.spec_from_file_location("bundle", WEB / "bundle.py")
    assert spec is not None
    assert spec.loader is not None
    bundle: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bundle)
    found: subprocess.CompletedProcess[str] = bundle.run_program("node", *map(str, words), directory=ROOT)
    return found


@pytest.mark.outside
@pytest.mark.slow
@pytest.mark.parametrize("judge", JUDGES)
def test_what_browsers_run(judge: str) -> None:
    require("node")
    done = node(*JUDGES[judge])
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_line_of_a_template_is_too_long_to_be_read() -> None:
    lines = {
        f"{path.name}:{number}": len(line)
        for path in list_templates()
        for number, line in enumerate(path.read_text().split("\n"), 1)
    }
    assert {place: length for place, length in lines.items() if length > 160} == {}


def test_templates_use_macros_that_exist() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in list_templates()}
    imports = {
        (path, alias, source) for path, text in texts.items() for source, alias in MACRO_IMPORT_PATTERN.findall(text)
    }
    missing = [
        f"{path.name}: {alias}.{name} of {source}"
        for path, alias, source in sorted(imports)
        for name in re.findall(rf"\b{alias}\.(\w+)\(", texts[path])
        if f"{{% macro {name}(" not in _find_template_text(texts, source)
    ]
    assert missing == []


def _find_template_text(texts: dict[Path, str], name: str) -> str:
    package, _, file_name = name.rpartition("/")
    return next(
        text for path, text in texts.items() if path.name == file_name and path.parents[1].name == (package or "portal")
    )


STYLES = [*sorted(WEB.glob("src/styles/*.css")), *PACKAGE_STYLES]
FONT_SIZES_PIXELS = {12, 13, 15, 18, 24, 32}  # 12: labels in drawings and above the values of cards
CORNERS_PIXELS = {3, 6, 999}  # small marks, boxes, pills
HALF_STEPS_PIXELS = {2, 3}  # within a line; 3 with the border of a control


def find_lengths(pattern: str, *, is_allowed: Callable[[int], bool]) -> list[str]:
    """List the lengths of a property in the styles that are not allowed."""
    return [
        f"{path.name}: {line.strip()}"
        for path in STYLES
        for line in path.read_text(encoding="utf-8").split("\n")
        if re.match(rf"\s*(?:{pattern}):", line)
        for length in re.findall(r"(?<![\w.])(\d+)px", line)
        if not is_allowed(int(length))
    ]


def test_texts_have_one_scale_of_sizes() -> None:
    assert find_lengths("font-size", is_allowed=FONT_SIZES_PIXELS.__contains__) == []


def test_spaces_are_on_the_grid_of_four_pixels() -> None:
    def is_on_grid(length: int) -> bool:
        return length % 4 == 0 or length in HALF_STEPS_PIXELS

    assert find_lengths(r"(?:padding|margin|gap|row-gap|column-gap)(?:-\w+)*", is_allowed=is_on_grid) == []


def test_corners_have_one_radius() -> None:
    assert find_lengths("border-radius", is_allowed=CORNERS_PIXELS.__contains__) == []
