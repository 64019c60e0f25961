"""A test site and a public site for promotions, with versions whose rows, metadata and files all say their number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.plugins.promotion.promotion import (
    PromotionOptions,
    ReturnReport,
    SiteSource,
    promote_collections,
    return_collections,
)
from hven.plugins.promotion.promotion_reports import PromotionReport
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL

ROW_COUNT = 400
DESCRIPTOR = """\
collection: stars
title: Stars {version}
tables:
  main:
    primary: id
    columns:
      id: {{type: int32}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
      version: {{type: int32, description: "{version}"}}
    source: {{kind: csv, files: main.csv}}
  facts:
    columns:
      version: {{type: int32}}
    source: {{kind: csv, files: facts.csv}}
"""
VERSION_QUERY = """\
SELECT m.version AS row_version, f.version AS fact, c.description AS word, (SELECT COUNT(*) FROM stars.main) AS n
FROM stars.main AS m, stars.facts AS f, TAP_SCHEMA.columns AS c
WHERE m.id = 1 AND c.table_name = 'stars.main' AND c.column_name = 'version'
"""


@dataclass(frozen=True)
class SitePair:
    """The directories of the two sites."""

    dev: Path
    gold: Path

    def write_version(self, version: int, descriptor: str = DESCRIPTOR) -> None:
        """Write the descriptor and the files of a version: a few rows of it differ from those of the version before."""
        directory = self.dev / "collections/stars"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "stars.yaml").write_text(descriptor.format(version=version))
        lines = ["id,ra,dec,version"]
        numbers = range(count_rows_of_version(version))
        lines += [f"{number},{number * 0.8},{number % 170 - 85},{version if number < 3 else 0}" for number in numbers]
        (directory / "main.csv").write_text("\n".join(lines) + "\n")
        (directory / "facts.csv").write_text(f"version\n{version}\n")
        (directory / "note.txt").write_text(f"{version}")

    def publish_version(self, version: int, descriptor: str = DESCRIPTOR) -> None:
        """Write a version and publish it on the test site."""
        self.write_version(version, descriptor)
        with self.open_dev() as site:
            ingest_collection(site, "stars")

    def open_dev(self) -> Site:
        """Open the test site."""
        return Site(load_settings(self.dev))

    def open_gold(self, **options: Any) -> Site:
        """Open the public site."""
        return Site(load_settings(self.gold), **options)


def count_rows_of_version(version: int) -> int:
    """Return how many rows the main table of a version has."""
    return ROW_COUNT + version % 7


def create_sites(directory: Path, gold_settings: str = "keep_snapshots = 4\n") -> SitePair:
    """Create both sites; the test site names the public one as its target ``gold``."""
    pair = SitePair(dev=directory / "dev", gold=directory / "gold")
    for path in (pair.dev, pair.gold):
        path.mkdir(parents=True)
    (pair.dev / "hven.toml").write_text('[targets.gold]\nsite = "../gold"\n')
    (pair.gold / "hven.toml").write_text(gold_settings)
    return pair


def create_postgres_sites(directory: Path, database: str, namespace: str) -> SitePair:
    """Create both sites; the public one has its rows in PostgreSQL."""
    settings = f'engine = "postgres"\n[postgres]\nurl = "{database}"\nnamespace = "{namespace}"\n'
    return create_sites(directory, settings)


def ask(site: Site, adql: str) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    rows: list[dict[str, Any]] = []
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        for batch in result.iterate_batches():
            rows += batch.to_pylist()
    return rows


def read_version(site: Site) -> int:
    """Return the version that a site publishes; rows, metadata and numbers of rows are checked against each other."""
    (row,) = ask(site, VERSION_QUERY)
    version = int(row["word"])
    expected = {"row_version": version, "fact": version, "word": str(version), "n": count_rows_of_version(version)}
    assert row == expected, f"a mixed answer: {row}"
    return version


def promote_collection(
    own_site: Site, target_site: Site, name: str, options: PromotionOptions | None = None
) -> PromotionReport:
    """Publish one collection on the target; both sites are open in this process."""
    return promote_collections(SiteSource(site=own_site), target_site, [name], options or PromotionOptions())[0]


def return_to_earlier_publication(target_site: Site, name: str) -> ReturnReport:
    """Return one collection to what the target published before."""
    return return_collections(target_site, [name])[name]
