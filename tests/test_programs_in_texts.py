"""Programs that stand in texts import names that exist: no tool that renames, and no type checker, sees them."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import ROOT

IMPORT_PATTERN = re.compile(r"\bfrom (hven(?:\.\w+)*) import (\w+(?: as \w+)?(?:, \w+(?: as \w+)?)*)")


def find_imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the module and the name of each import in the texts of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for module_name, imported_names in IMPORT_PATTERN.findall(node.value):
                for imported_name in imported_names.split(", "):
                    yield module_name, imported_name.partition(" as ")[0]


def can_import(module_name: str, name: str) -> bool:
    """Tell whether a module has a name, or a submodule of that name; a package of others may be missing."""
    try:
        if hasattr(importlib.import_module(module_name), name):
            return True
        importlib.import_module(f"{module_name}.{name}")
    except ModuleNotFoundError as error:
        return not str(error.name).startswith("hven")
    return True


@pytest.mark.parametrize("folder", ["src/hven", "tests", "bench", "demo"])
def test_names_that_programs_in_texts_import_exist(folder: str) -> None:
    paths = [path for path in (ROOT / folder).rglob("*.py") if "corpus" not in path.parts]
    imports = {pair: path for path in paths for pair in find_imports(path)}
    missing = [f"{path.relative_to(ROOT)}: {'.'.join(pair)}" for pair, path in imports.items() if not can_import(*pair)]
    assert missing == []


def test_a_name_that_is_not_there_is_found(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    package = "hven"  # apart, so that this text is none of the texts above
    path.write_text(f'PROGRAM = "from {package}.model import errors, nothing as other"\n')
    assert list(find_imports(path)) == [("hven.model", "errors"), ("hven.model", "nothing")]
    assert [can_import(*pair) for pair in find_imports(path)] == [True, False]
