"""Sites of external clients whose tables are all HATS, and whose queries a Spark cluster computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spark_cluster import run_cluster

from storage_engines import SiteEngine


class HatsSiteEngine(SiteEngine):
    """The engine hats with a cluster for every query."""

    def write_settings(self, site: Path) -> None:
        """Write the engine into hven.toml of a site."""
        path = site / "hven.toml"
        text = path.read_text(encoding="utf-8")
        section = f'\n[hats]\nroots = ["hats"]\nspark = "{self.url}"\nnear_bytes = 0\n'
        path.write_text(f'engine = "hats"\n{text}{section}', encoding="utf-8")


@contextmanager
def open_engine() -> Iterator[SiteEngine]:
    with run_cluster() as cluster:
        yield HatsSiteEngine("hats", cluster.url)


ENGINES = {"hats": open_engine}
