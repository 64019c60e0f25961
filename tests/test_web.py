"""What browsers run is judged where it is written: types, what is wrong or has grown too big, how lines are set, and its own tests."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

import pytest

from portal_templates import list_templates
from requirements import require

WEB = Path(__file__).parents[1] / "web"
MODULES = WEB / "node_modules"
CACHE = MODULES / ".cache"
JUDGES = {
    "types": (MODULES / "typescript/bin/tsc", "--project", "."),
    "rules": (
        MODULES / "eslint/bin/eslint.js",
        "--cache",
        "--cache-location",
        CACHE / "eslint",
        "--max-warnings",
        "0",
        ".",
    ),
    "lines": (
        MODULES / "prettier/bin/prettier.cjs",
        "--cache",
        "--cache-location",
        CACHE / "prettier",
        "--log-level",
        "warn",
        "--check",
        ".",
    ),
    "tests": ("--test", "--test-reporter", "tap", *sorted(WEB.glob("test/*.test.js"))),
}


def node(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the node that bundles: the machine's, or the one from PyPI."""
    spec = importlib.util.spec_from_file_location("bundle", WEB / "bundle.py")
    assert spec is not None
    assert spec.loader is not None
    bundle: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bundle)
    found: subprocess.CompletedProcess[str] = bundle.run_program("node", *map(str, words))
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
