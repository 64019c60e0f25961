"""Sites of external clients whose rows are in PostgreSQL, with each index of positions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from postgres_cluster import install_extensions, run_server
from storage_engines import SiteEngine

DEFAULT_ENGINES = ("pgsphere",)
POSITION_ENGINES = ("pgsphere", "q3c", "healpix")
_count = itertools.count(1)


class PostgresSiteEngine(SiteEngine):
    """The engine postgres with an index of positions; each site has a schema of its own in the database."""

    def write_settings(self, site: Path) -> None:
        """Write the engine into hven.toml of a site."""
        path = site / "hven.toml"
        text = path.read_text(encoding="utf-8")
        section = f'\n[postgres]\nurl = "{self.url}"\nnamespace = "site_{next(_count)}"\nposition = "{self.name}"\n'
        path.write_text(f'engine = "postgres"\n{text}{section}', encoding="utf-8")


@contextmanager
def open_engine(position: str) -> Iterator[SiteEngine]:
    with run_server() as address:
        url = f"postgresql://{address}"
        install_extensions(url)
        yield PostgresSiteEngine(position, url)


ENGINES = {name: partial(open_engine, name) for name in POSITION_ENGINES}
