"""The example plug-ins as installed packages: the module and its entry points, in a directory of installed packages."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hven.model import plugins
from hven.portal._pages import load_templates
from hven.portal._pages.texts import load_page_translations
from shared import ROOT

PLUGIN_DIRECTORY = ROOT / "examples/plugins"


def list_files(name: str) -> set[str]:
    return {path.name for path in (PLUGIN_DIRECTORY / name).iterdir()} - {"__pycache__", "README.md"}


def clear_caches() -> None:
    """Forget what was found among installed packages."""
    plugins._selection.discard_cached_results()
    for one in (
        plugins._map_plugin_packages,
        load_page_translations,
        load_templates,
    ):
        one.cache_clear()


@contextmanager
def install_plugin(name: str, place: Path) -> Iterator[None]:
    """Install an example: ``hven_<name>.py``, or the folder of that name."""
    project = tomllib.loads((PLUGIN_DIRECTORY / name / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    about = place / f"hven_{name}-{project['version']}.dist-info"
    about.mkdir(parents=True)
    module = next((PLUGIN_DIRECTORY / name).glob(f"hven_{name}*"))
    (shutil.copytree if module.is_dir() else shutil.copy)(module, place / module.name)
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    lines = [
        f"[{group}]\n{one} = {value}\n"
        for group, names in project["entry-points"].items()
        for one, value in names.items()
    ]
    (about / "entry_points.txt").write_text("".join(lines), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        clear_caches()
        try:
            yield
        finally:
            clear_caches()
            sys.modules.pop(f"hven_{name}", None)


def load_test_class(name: str) -> type:
    """Load the class of tests of an example."""
    spec = importlib.util.spec_from_file_location(f"test_{name}", PLUGIN_DIRECTORY / name / f"test_{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type = vars(module)[f"Test{name.title()}"]
    return found


def count_test_lines(name: str) -> int:
    """Count the lines of code in the tests of an example."""
    return sum(
        bool(line) and not line.startswith('"""')
        for line in (PLUGIN_DIRECTORY / name / f"test_{name}.py").read_text().splitlines()
    )
