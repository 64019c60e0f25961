"""Which engine stores the rows of a site in tests: DuckDB, PostgreSQL with each index of positions, or that of a package.

``pytest -k pgsphere`` selects one of them. `use_engines` sets the engines of a test (default: `DEFAULT_ENGINES`). With
HVEN_KEEPERS=NAME all tables are in an engine of a plug-in package, which its module ``site_engine`` opens.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from hven.model.settings import load_settings
from postgres_cluster import install_extensions, run_server

EMBEDDED = "duckdb"
DEFAULT_ENGINES = tuple(os.environ.get("HVEN_KEEPERS", f"{EMBEDDED},pgsphere").split(","))
ALL_ENGINES = (EMBEDDED, "pgsphere", "q3c", "healpix")
_count = itertools.count(1)
_Test = TypeVar("_Test", bound=Callable[..., None])


def use_engines(*names: str) -> Callable[[_Test], _Test]:
    """Set the engines of a test: only one where nothing depends on the engine."""

    def mark_test(test: _Test) -> _Test:
        test.keepers = names  # type: ignore[attr-defined]
        return test

    return mark_test


@dataclass(frozen=True)
class SiteEngine:
    """The engine of new sites; each site has a schema of its own in the database."""

    name: str
    url: str | None = None

    def write_settings(self, site: Path) -> None:
        """Write the engine into hven.toml of a site."""
        path = site / "hven.toml"
        said = path.read_text(encoding="utf-8")
        if self.url is not None:
            more = f'\n[postgres]\nurl = "{self.url}"\nnamespace = "site_{next(_count)}"\nposition = "{self.name}"\n'
            path.write_text(f'engine = "postgres"\n{said}{more}', encoding="utf-8")

    def read_options(self, site: Path) -> dict[str, Any]:
        """Read the options of `hven.testing.site.open_tiny_site`, after `write_settings`."""
        if self.url is None:
            return {}
        found = load_settings(site, {})
        return {"engine": found.engine, "brought": found.brought}


class LazyDatabase:
    """A database server that starts when the first site needs it."""

    def __init__(self) -> None:
        self._running = ExitStack()

    @cached_property
    def url(self) -> str:
        url = f"postgresql://{self._running.enter_context(run_server())}"
        install_extensions(url)
        return url

    def close(self) -> None:
        self._running.close()


@contextmanager
def open_database() -> Iterator[LazyDatabase]:
    found = LazyDatabase()
    try:
        yield found
    finally:
        found.close()
