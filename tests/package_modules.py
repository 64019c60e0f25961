"""Modules by which the tests of plug-in packages take part in tests of the core: those that a package has beside its tests.

* ``rights_requests``: the package's routes and files, for the matrix of rights (`rights_matrix`, `test_rights_lost`).
* ``source_servers``: options of its kinds of sources that ask a server (`test_unresponsive_servers`).
* ``demo_checks``: `check_demo(site, tmp_path)` checks what it serves of the demo (`test_demo`).
* ``site_engine``: engines in which sites of external clients may keep their rows (`storage_engines`).
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from hven.model import plugins

PACKAGES = Path(__file__).parent / "plugins"


def load_package_modules(name: str) -> list[ModuleType]:
    """Load such a module of each package that this run uses and that has one.

    Parameters
    ----------
    name
        Name of the module.
    """
    paths = [PACKAGES / package.name / f"{name}.py" for package in plugins.list_plugin_packages()]
    return [_load_module(path) for path in paths if path.exists()]


def _load_module(path: Path) -> ModuleType:
    name = f"{path.parent.name}_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.path.insert(0, str(path.parent))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
