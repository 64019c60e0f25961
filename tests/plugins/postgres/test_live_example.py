"""A table of a working database, published in place as EPN-TAP: it is what an ingest makes of it, and follows what is written there."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import psycopg
import pytest
from astropy import constants, units

from example_sites import assert_valid_service, open_example
from process_runner import run_hven, serve_site

pytestmark = [pytest.mark.outside, pytest.mark.slow]

LIVE = """\
collection: ops
title: OMEGA cubes as they come in
include: [../omega.yaml]
tables:
  epn_core:
    title: OMEGA cubes as they come in
    description: One row per file
    source: {kind: live, url: $PSUP_DB, table: public.omega_cubes}
    optional: [local_time, target_distance]
    where: data_quality > 0
    columns:
      orbit_number: {type: int32, ucd: meta.number, description: Number of the orbit around Mars}
      half: {type: float64, unit: deg, ucd: pos.bodyrc.lon, description: Longitude of -180 to 180}
      west: {type: float64, unit: deg, ucd: pos.bodyrc.lon, description: "East longitude, were it a west one"}
      away: {type: float64, unit: s, ucd: time.duration, description: Light time}
    set: {dataproduct_type: sc, processing_level: 3, measurement_type: phys.reflectance}
    text:
      obs_id: "{name}"
      granule_uid: "{name}_{target.granule_gid}"
      thumbnail_url: "{base}/thumbnails/{name}_256x256.png"
      access_url: "{base}/cubes_L2/{target.file_name}"
    map:
      time_min: jd(ut_start)
      time_max: jd(ut_stop)
      c1min: lon_360(lon_min)
      c1max: lon_360(lon_max)
      c2min: lat_min
      c2max: lat_max
      half: lon_180(lon_min + 400)
      west: east_lon(lon_min)
      away: light_time(distance_min, 'm')
      local_time_min: ltst_min
      local_time_max: ltst_max
      target_distance_min: distance_min / 1000.0
      target_distance_max: distance_max / 1000.0
    granules:
      - {gid: sav, set: {access_format: application/x-idl-save}, map: {file_name: sav_file, access_estsize: sav_bytes / 1024}}
      - {gid: nc, if: nc_file IS NOT NULL, set: {access_format: application/x-netcdf}, map: {file_name: nc_file, access_estsize: nc_bytes / 1024}}
    obscore: {}
"""
SAME = "granule_uid, granule_gid, obs_id, time_min, time_max, c1min, c1max, c2min, c2max, spectral_range_min, spectral_range_max, incidence_min, emergence_max, local_time_min, target_distance_max, access_url, access_estsize, creation_date, release_date, target_name, spatial_frame_type, orbit_number"


def test_a_table_in_place_is_epn_tap(tmp_path: Path) -> None:
    with open_example("04-omega-cubes-and-maps", tmp_path) as site:
        (site / "collections/ops").mkdir()
        (site / "collections/ops/ops.yaml").write_text(LIVE)
        run_hven("--site", site, "ingest", "omega_cubes")
        assert "0 errors" in run_hven("--site", site, "check", "ops").stdout

        def rows(table: str) -> list[dict[str, str]]:
            query = f"SELECT {SAME} FROM {table}.epn_core ORDER BY granule_uid"
            return list(csv.DictReader(run_hven("--site", site, "query", "-f", "csv", query).stdout.splitlines()))

        live, kept = rows("ops"), rows("omega_cubes")
        assert len(kept) == 46
        for ours, theirs in zip(live, kept, strict=True):
            for name, value in ours.items():
                try:
                    assert float(value) == pytest.approx(float(theirs[name]), rel=1e-15), name
                except ValueError:
                    assert value == theirs[name], name
        query = "SELECT c1min, half, west, away, target_distance_min FROM ops.epn_core"
        for row in csv.DictReader(run_hven("--site", site, "query", "-f", "csv", query).stdout.splitlines()):
            west, half, turned, seconds, far = (float(value) for value in row.values())
            assert half == pytest.approx((west + 40 + 180) % 360 - 180, abs=1e-9)
            assert turned == pytest.approx(-west % 360, abs=1e-9)
            assert seconds == pytest.approx((far * units.km / constants.c).to_value(units.s), rel=1e-12)
        with serve_site(site) as server:
            assert_valid_service(server.url, with_obscore=True)
            with psycopg.connect(os.environ["PSUP_DB"], autocommit=True) as database:
                # bad ones are left out by where
                database.execute("UPDATE omega_cubes SET data_quality = 0 WHERE name = '0018_0'")
                database.execute("UPDATE omega_cubes SET nc_file = '0018_1.nc4' WHERE name = '0018_1'")
            asked = "SELECT file_name FROM ops.epn_core WHERE obs_id IN ('0018_0', '0018_1') ORDER BY file_name"
            assert server.rows(asked) == [["0018_1.nc4"], ["0018_1.sav"]]
            assert server.rows("SELECT COUNT(*) FROM ivoa.obscore") == [[44]]
        found = run_hven(
            "--site", site, "query", "--epn", "target_name=Mars c1=355/5 c2=10/20 time=2004", "-f", "csv"
        ).stdout
        assert {row["granule_gid"] for row in csv.DictReader(found.splitlines())} >= {"sav", "nc"}
