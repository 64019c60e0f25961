"""Which engine keeps the rows of a site in tests: the embedded one, PostgreSQL with each of its three ways to find positions, or HATS.

``pytest -k pgsphere`` runs one of them; `kept_by` says of a test which ones judge it (default: `USUAL`). HVEN_KEEPERS=hats has them judged by
tables that are all HATS, whatever of them is queried computed by a cluster of Spark.
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
HATS = "hats"
DEFAULT_ENGINES = tuple(os.environ.get("HVEN_KEEPERS", f"{EMBEDDED},pgsphere").split(","))
ALL_ENGINES = (EMBEDDED, "pgsphere", "q3c", "healpix")
_count = itertools.count(1)
_Test = TypeVar("_Test", bound=Callable[..., None])


def use_engines(*names: str) -> Callable[[_Test], _Test]:
    """Say which engines judge a test: one alone where all is done before an engine is asked, or after it has answered."""

    def marked(test: _Test) -> _Test:
        test.keepers = names  # type: ignore[attr-defined]
        return test

    return marked


@dataclass(frozen=True)
class SiteEngine:
    """An engine that new sites are given; each site has a schema of its own in the database."""

    name: str
    url: str | None = None

    def write_settings(self, site: Path) -> None:
        """Write the engine into a site's hven.toml."""
        path = site / "hven.toml"
        said = path.read_text(encoding="utf-8")
        if self.name == HATS:
            more = f'\n[hats]\nroots = ["hats"]\nspark = "{self.url}"\nnear_bytes = 0\n'
            path.write_text(f'engine = "hats"\n{said}{more}', encoding="utf-8")
        elif self.url is not None:
            more = f'\n[postgres]\nurl = "{self.url}"\nnamespace = "site_{next(_count)}"\nposition = "{self.name}"\n'
            path.write_text(f'engine = "postgres"\n{said}{more}', encoding="utf-8")

    def read_options(self, site: Path) -> dict[str, Any]:
        """Give what `hven.testing.site.open_tiny_site` is told, after `tell`."""
        if self.url is None:
            return {}
        found = load_settings(site, {})
        return {"engine": found.engine, "brought": found.brought}


class LazyDatabase:
    """A server that is started when the first site needs it."""

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
