"""Which engine stores the rows of a site in tests: DuckDB, or one of a plug-in package.

``pytest -k duckdb`` selects one of them. `use_engines` sets the engines of a test (default: `DEFAULT_ENGINES`). With
HVEN_KEEPERS=NAME all tables are in an engine of a package, which its module ``site_engine`` opens. Besides `ENGINES`,
such a module may list those with which tests run (``DEFAULT_ENGINES``), and those for tests of positions
(``POSITION_ENGINES``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hven.model.settings import load_settings
from package_modules import load_package_modules

EMBEDDED = "duckdb"
_Test = TypeVar("_Test", bound=Callable[..., None])


def use_engines(*names: str) -> Callable[[_Test], _Test]:
    """Set the engines of a test: only one where nothing depends on the engine."""

    def mark_test(test: _Test) -> _Test:
        test.keepers = names  # type: ignore[attr-defined]
        return test

    return mark_test


def list_package_engines(variable: str) -> tuple[str, ...]:
    """List the engines that packages name in a variable of their modules ``site_engine``."""
    return tuple(name for module in load_package_modules("site_engine") for name in getattr(module, variable, ()))


@dataclass(frozen=True)
class SiteEngine:
    """The engine of new sites."""

    name: str
    url: str | None = None

    def write_settings(self, site: Path) -> None:
        """Write the engine into hven.toml of a site."""

    def read_options(self, site: Path) -> dict[str, Any]:
        """Read the options of `hven.testing.site.open_tiny_site`, after `write_settings`."""
        if self.url is None:
            return {}
        found = load_settings(site, {})
        return {"engine": found.engine, "brought": found.brought}


@contextmanager
def open_embedded_engine() -> Iterator[SiteEngine]:
    yield SiteEngine(EMBEDDED)


def open_engine(name: str) -> AbstractContextManager[SiteEngine]:
    """Open an engine by its name."""
    engines: dict[str, Callable[[], AbstractContextManager[SiteEngine]]] = {EMBEDDED: open_embedded_engine}
    for module in load_package_modules("site_engine"):
        engines |= module.ENGINES
    return engines[name]()


DEFAULT_ENGINES = (EMBEDDED, *list_package_engines("DEFAULT_ENGINES"))
if "HVEN_KEEPERS" in os.environ:
    DEFAULT_ENGINES = tuple(os.environ["HVEN_KEEPERS"].split(","))
POSITION_ENGINES = (EMBEDDED, *list_package_engines("POSITION_ENGINES"))
