"""The database of active regions of the HFC with a fixed seed, and its daily changes.

A day adds, edits and deletes rows, and adds some late. Each day is one transaction that keeps the sum of `balance` at
0 and one `edition` for all rows of an image, so that an answer that mixes two states is detected.
"""

from __future__ import annotations

import random

import numpy as np
import psycopg

ROWS = 1_153_779
REGIONS_PER_IMAGE = 6  # regions of one magnetogram
TABLE = """
DROP TABLE IF EXISTS v_ar_hqi;
CREATE TABLE v_ar_hqi (
    id_ar bigint PRIMARY KEY, observations_id bigint NOT NULL, observat text, instrume text, telescop text, wavemin float8, exp_time float8,
    date_obs timestamp, jdint int, jdfraction float8, filename text, nbytes bigint, noaa_number int, feat_x_arcsec float8, feat_y_arcsec float8,
    feat_x_pix float8, feat_y_pix float8, feat_hg_long_deg float8, feat_hg_lat_deg float8, feat_carr_long_deg float8, feat_carr_lat_deg float8,
    br_carr_long0_deg float8, br_carr_lat0_deg float8, br_carr_long2_deg float8, br_carr_lat1_deg float8, feat_area_pix int, feat_area_deg2 float8,
    feat_tot_flux float8, feat_max_int float4, feat_min_int float4, feat_mean_int float4, cc_pix_x int, cc_pix_y int, cc_length int, chain_code text,
    r_sun float8, cdelt1 float8, cdelt2 float8, center_x float8, center_y float8, run_date timestamp, code text, version text, balance int, edition int
);
"""
SELECT = f"""
SELECT n, n / {REGIONS_PER_IMAGE}, 'SOHO', 'MDI', 'SOHO', 676.8, 30.0, t, floor(j)::int, j - floor(j), 'fd_M_96m_01d.' || n / {REGIONS_PER_IMAGE} || '.fits', 1048576 * (1 + n % 4),
    CASE WHEN n % 3 = 0 THEN NULL ELSE (10000 + n % 3000)::int END, (n % 1900) - 950.0, (n % 1700) - 850.0, n % 1024, n % 1000, (n % 180) - 90.0, (n % 70) - 35.0,
    (n * 7.31)::numeric % 360, (n % 70) - 35.0, west, south, west + 2 + n % 9, south + 1 + n % 6, 50 + n % 4000, (2 + n % 9) * (1 + n % 6), 1e20 * (1 + n % 500),
    n % 2000, -(n % 1500), (n % 500) / 7.0, n % 1024, n % 1000, 40 + n % 60, repeat(chr(48 + (n % 8)::int), 20) || md5(n::text) || repeat(chr(48 + (n % 7)::int), 20),
    960.0 + (n % 40) / 10.0, 1.98, 1.98, 512.5, 511.5, t + interval '3 days', 'SMART', '1.' || n % 4, CASE WHEN n % 2 = 0 THEN 1 + (n / 2 % 100)::int ELSE -1 - (n / 2 % 100)::int END, 0
FROM (SELECT n, timestamp '1996-05-01' + n / {REGIONS_PER_IMAGE} * interval '96 minutes' AS t, 2450204.5 + n / {REGIONS_PER_IMAGE} / 15.0 AS j, (n * 3.77)::numeric % 360 - 5 AS west, (n % 60) - 32.0 AS south
      FROM generate_series({{low}}::bigint, {{high}}::bigint) n) s
"""  # fmt: skip
DESCRIPTOR = """
collection: hfc1ar
title: Active regions of the Sun (HFC)
description: Active regions of magnetograms of SOHO/MDI. Made up, in the form of the HFC's tables.
engine: {engine}
subjects: [solar active regions]
tables:
  epn_core:
    standard: epn-tap-2.0
    title: Active regions of the Sun (HFC)
    description: One row per region and magnetogram
    frame: body
    optional: [access, feature_name, spatial_coordinate_description, target_region]
    source: {{kind: sql, url: $HFC, table: v_ar_hqi}}
    sync: {sync}
    let:
      west: lon_360(br_carr_long0_deg)
      east: lon_360(br_carr_long2_deg)
    columns:
      id_ar: {{type: int64, ucd: meta.id, description: Number of the region, indexed: true}}
      surface_area: {{type: float64, unit: deg**2, ucd: phys.angArea, description: Area on the Sun's surface}}
      magnetic_flux: {{type: float64, unit: Wb, ucd: phys.magField, description: Total unsigned magnetic flux}}
      noaa_number: {{type: int32, ucd: meta.id, description: Number of the region at NOAA}}
      chain_code: {{type: string, ucd: meta.code, description: Freeman chain code of its outline}}
      balance: {{type: int32, ucd: meta.number, description: Sums up to 0}}
      edition: {{type: int32, ucd: meta.number, description: One for all regions of an image}}
      obs_number: {{type: int64, ucd: meta.id, description: Number of the image}}
    set:
      granule_gid: active region
      dataproduct_type: ev
      target_name: Sun
      target_class: star
      instrument_host_name: SOHO
      instrument_name: MDI
      measurement_type: phys.magField
      processing_level: 5
      service_title: hfc1ar
      target_region: photosphere
      spatial_coordinate_description: Carrington
      access_format: application/fits
      creation_date: "2026-01-01"
      release_date: "2026-01-01"
    text:
      granule_uid: "ar_{{id_ar}}"
      obs_id: "mdi_{{observations_id}}"
      feature_name: "NOAA {{noaa_number}}"
      access_url: "https://example.org/hfc/{{url_path(filename)}}"
    map:
      time_min: jdint + jdfraction
      time_max: target.time_min + exp_time / 86400.0
      modification_date: run_date
      c1min: west
      c1max: east
      c2min: br_carr_lat0_deg
      c2max: br_carr_lat1_deg
      s_region: lonlat_box(west, east, br_carr_lat0_deg, br_carr_lat1_deg, 'body')
      spectral_range_min: gavo_specconv(wavemin, 'nm', 'Hz')
      access_estsize: nbytes / 1024
      surface_area: feat_area_deg2
      magnetic_flux: feat_tot_flux * 1e-8
      obs_number: observations_id
"""  # fmt: skip
COLUMNS = "id_ar, obs_number, time_min, c1min, c2min, c2max, noaa_number, surface_area, chain_code, balance, edition"
ROWS_QUERY = (
    "SELECT id_ar, observations_id, jdint + jdfraction, br_carr_long0_deg, br_carr_lat0_deg, br_carr_lat1_deg, coalesce(noaa_number, -1), feat_area_deg2, "
    "hashtext(chain_code), balance, edition FROM v_ar_hqi ORDER BY id_ar"
)


def _write_insert(low: int, high: int) -> str:
    return f"INSERT INTO v_ar_hqi {SELECT.format(low=low, high=high)}"


def create_table(url: str, rows: int) -> None:
    """Create the table and its rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLE)
        connection.execute(_write_insert(2, rows + 1))
        if rows % 2:  # pairs 2n, 2n + 1 sum up to 0
            connection.execute("UPDATE v_ar_hqi SET balance = 0 WHERE id_ar = %s", (rows + 1,))
        connection.execute("CREATE INDEX ON v_ar_hqi (observations_id)")
        connection.execute("VACUUM ANALYZE v_ar_hqi")


def apply_day(url: str, number: int, changes: int = 1000) -> dict[str, int]:
    """Apply the changes of a day to `changes` rows and return the number of rows of each kind.

    Some rows are new, some late (old numbers and times), some edited, some deleted.
    """
    made = random.Random(number)
    done = {}
    with psycopg.connect(url) as connection:
        low, high = connection.execute("SELECT min(id_ar), max(id_ar) FROM v_ar_hqi WHERE id_ar > 0").fetchone()
        pairs = changes // 8
        start = high + 1 + high % 2  # pairs begin at even numbers
        start += start % 2
        done["new"] = connection.execute(_write_insert(start, start + 2 * pairs - 1)).rowcount
        gone = sorted({2 * (made.randrange(low, high) // 2) for _ in range(pairs)})
        whole = [one for one in gone if one >= low]
        done["deleted"] = connection.execute(
            "DELETE FROM v_ar_hqi WHERE id_ar = ANY(%s) AND (SELECT sum(b.balance) FROM v_ar_hqi b WHERE b.id_ar BETWEEN v_ar_hqi.id_ar / 2 * 2 AND v_ar_hqi.id_ar / 2 * 2 + 1) = 0",
            ([each for one in whole for each in (one, one + 1)],),
        ).rowcount
        # rows that were deleted earlier come back late, with their old numbers and times
        late = connection.execute(
            "SELECT n FROM unnest(%s::bigint[]) n WHERE NOT EXISTS (SELECT 1 FROM v_ar_hqi WHERE id_ar IN (n, n + 1))",
            ([2 * (made.randrange(low, high) // 2) for _ in range(pairs * 4)],),
        ).fetchall()
        done["late"] = 0
        for (one,) in late[:pairs]:
            done["late"] += connection.execute(f"{_write_insert(one, one + 1)} ON CONFLICT DO NOTHING").rowcount
        images = sorted(
            {made.randrange(low, high) // REGIONS_PER_IMAGE for _ in range(max(changes // 2 // REGIONS_PER_IMAGE, 1))}
        )
        done["edited"] = connection.execute(
            "UPDATE v_ar_hqi SET edition = edition + 1, feat_area_deg2 = feat_area_deg2 + 1, chain_code = reverse(chain_code) WHERE observations_id = ANY(%s)",
            (images,),
        ).rowcount
        # rows that come new or late into an image have its edition
        connection.execute(
            "UPDATE v_ar_hqi v SET edition = m.edition FROM (SELECT observations_id, max(edition) AS edition FROM v_ar_hqi GROUP BY observations_id "
            "HAVING max(edition) <> min(edition)) m WHERE m.observations_id = v.observations_id AND v.edition <> m.edition"
        )
    return done


def read_rows(url: str) -> np.ndarray:
    """Read the rows of the source as numbers, in the order of their keys; shape (rows, 11)."""
    with (
        psycopg.connect(url) as connection,
        connection.cursor() as cursor,
        cursor.copy(f"COPY ({ROWS_QUERY}) TO STDOUT") as copy,
    ):
        text = b"".join(bytes(block) for block in copy)
    found = np.array(text.split(), np.float64).reshape(-1, 11)
    found[:, 3] %= 360
    return found
