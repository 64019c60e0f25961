"""The hash of all rows doesn't depend on the engine: a package goes into PostgreSQL, and from there back into files."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from package_sites import create_empty_site, create_site, pack

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.plugins.packages.package_import import compute_snapshot_hash, import_package
from hven.plugins.packages.package_reader import PackageReader
from hven.plugins.promotion.promotion import PromotionOptions
from hven.site import Site
from plugin_needs import require_plugins
from postgres_cluster import run_server

pytestmark = pytest.mark.outside
KINDS = """\
collection: night
title: Values of all kinds
tables:
  main:
    columns:
      id: {type: int32}
      seen: {type: timestamp}
      u8: {type: uint8}
      f32: {type: float32}
      f64: {type: float64}
      flag: {type: boolean}
      text: {type: string}
      region: {type: circle}
      many: {type: "float64[*]"}
    source: {kind: parquet, files: kinds.parquet}
"""


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    require_plugins("engines", "postgres")
    with run_server() as address:
        yield f"postgresql://{address}"


def create_site_of_all_kinds(directory: Path) -> Path:
    """Create a site with a table that has values of all kinds, missing ones, NaN and an infinity among them."""
    site = create_site(directory, descriptor=KINDS, ingest=False)
    table = pa.table(
        {
            "id": pa.array([1, 2, 3, 4], pa.int32()),
            "seen": pa.array([dt.datetime(2020, 1, 1), None, dt.datetime(1850, 5, 5, 1, 2, 3, 456789), None]),
            "u8": pa.array([0, 255, None, 7], pa.uint8()),
            "f32": pa.array([0.1, None, -0.0, 3e38], pa.float32()),
            "f64": pa.array([0.1, float("nan"), float("inf"), -0.0], pa.float64()),
            "flag": pa.array([True, False, None, True]),
            "text": pa.array(["", "é\n'", None, "x" * 3000]),
            "region": pa.array([[1.0, 2.0, 0.5], None, [0.0, -90.0, 1.0], [359.9, 0.0, 2.0]], pa.list_(pa.float64())),
            "many": pa.array([[1.0, float("nan")], [], None, [0.1]], pa.list_(pa.float64())),
        }
    )
    pq.write_table(table, site / "collections/night/kinds.parquet")
    with Site(load_settings(site)) as source:
        ingest_collection(source, "night")
    return site


@pytest.mark.parametrize("create", [create_site, create_site_of_all_kinds], ids=["frames", "kinds"])
def test_the_hash_is_that_of_the_other_engine(database: str, tmp_path: Path, create: object) -> None:
    site = create(tmp_path / "site")  # type: ignore[operator]
    written = pack(site, tmp_path / "night.tar")
    namespace = f"p{uuid.uuid4().hex[:12]}"
    address = "https://night.example.org"  # that of files in rows
    settings = (
        f'public_url = "{address}"\nengine = "postgres"\n[postgres]\nurl = "{database}"\nnamespace = "{namespace}"\n'
    )
    inside = create_empty_site(tmp_path / "inside", settings)
    with Site(load_settings(inside)) as target:
        report = import_package(target, PackageReader(tmp_path / "night.tar"), PromotionOptions())
        assert {record.snapshot.engine for record in target.published_records.values()} == {"postgres"}
        assert report.snapshot_hash == written.snapshot_hash
        ingest_collection(target, "night")  # now by PostgreSQL's own steps
        assert compute_snapshot_hash(target, "night")[1] == written.snapshot_hash
    again = pack(inside, tmp_path / "again.tar")
    assert again.snapshot_hash == written.snapshot_hash
    back = create_empty_site(tmp_path / "back")
    with Site(load_settings(back)) as target:
        assert import_package(target, PackageReader(tmp_path / "again.tar"), PromotionOptions()).run
        assert compute_snapshot_hash(target, "night")[1] == written.snapshot_hash
