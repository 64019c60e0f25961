"""Keep Arrow and DuckDB from loading pandas, where it is installed, into processes that do not use it."""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType


class _PandasHider(Loader):
    """A finder and loader of modules with which imports of pandas fail.

    `find_spec` raises nothing itself: libraries ask it whether pandas is installed, and expect an answer.
    """

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "pandas":
            return ModuleSpec(name, self)
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Load nothing: `create_module` has refused."""


_PANDAS_HIDER = _PandasHider()


def refuse_pandas_imports() -> None:
    """Make imports of pandas fail in this process, as where it is not installed.

    Arrow imports pandas when it first converts a Python list, and DuckDB when it first binds a value. That takes half a
    second of processor time and 40 MB, though Hven itself neither takes nor gives data frames. Only the programs that
    Hven starts call this: a notebook that imports ``hven`` keeps its pandas.
    """
    if "pandas" not in sys.modules and _PANDAS_HIDER not in sys.meta_path:
        sys.meta_path.insert(0, _PANDAS_HIDER)


def restore_pandas_imports() -> None:
    """Undo `refuse_pandas_imports`, for code of others that may use pandas: Arrow knows data frames again, too."""
    if _PANDAS_HIDER not in sys.meta_path:
        return
    sys.meta_path.remove(_PANDAS_HIDER)
    if sys.modules.get("pandas", _PANDAS_HIDER) is None:
        del sys.modules["pandas"]
    arrow = sys.modules.get("pyarrow")
    if arrow is not None and is_module_installed("pandas"):
        arrow.table({}).to_pandas()  # it has looked in vain, and looks again only for something that needs pandas


def is_module_installed(module: str) -> bool:
    """Check that a top-level module can be imported, without importing it.

    Parameters
    ----------
    module
        Name of the module.

    Returns
    -------
    bool
        False also for what `refuse_pandas_imports` hides.
    """
    if module == "pandas" and _PANDAS_HIDER in sys.meta_path:
        return False
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
