"""Real data of the sky as small collections: HST's ObsCore, ESO's archive, logs and OIFITS files of interferometers, Planck's SZ clusters, craters."""

from __future__ import annotations

import csv
import json
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits, votable
from astropy.time import Time

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from shared import shared

HST = """\
collection: hst
title: Observations of HST by ObsCore
tables:
  main:
    source: {kind: votable, files: hst_obscore_padc.vot.xml.gz}
    follow: true
    primary: obs_publisher_did
    columns: {s_region: {type: string}}
    obscore: {map: {obs_publisher_did: obs_publisher_did, obs_id: obs_id, obs_collection: obs_collection}}
"""
ESO = """\
collection: eso
title: Exposures and products of ESO
tables:
  raw:
    source: {kind: csv, files: eso_raw_sinfoni_sgra.csv, types: {mjd_obs: float64}}
    primary: dp_id
    columns:
      dp_id: {type: string, ucd: meta.id;meta.main, description: Name}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: RA}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Dec}
      started: {type: timestamp, description: Begin}
      exposure: {type: float64, unit: s, description: Time}
      kind: {type: string, description: What it is}
      grating: {type: string, description: Grating}
      program: {type: string, description: Programme}
      released: {type: timestamp, description: Release}
      url: {type: string, description: Address}
    map: {started: parse_time(exp_start), kind: dp_type, grating: grat_path, program: prog_id, released: parse_time(release_date), url: access_url}
    obscore:
      set: {calib_level: 0, facility_name: ESO-VLT-U4, instrument_name: SINFONI, obs_collection: SINFONI}
      map: {obs_id: dp_id, t_min: mjd(started), t_max: "mjd(started) + in_unit(exposure, 'd')", access_url: url, obs_release_date: released, proposal_id: program}
      optional: [release, proposal_id]
  products:
    source: {kind: csv, files: eso_phase3_vvv_sgra.csv}
    primary: dp_id
    follow: true
    columns:
      dp_id: {type: string}
      s_ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      s_dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      em_min: {type: float64, unit: m}
      em_max: {type: float64, unit: m}
      t_min: {type: float64, unit: d}
      t_max: {type: float64, unit: d}
      s_region: {type: string}
      obs_id: {type: string}
      calib_level: {type: int32}
    map: {s_region: "regexp_replace(s_region, '^POLYGON J2000', 'POLYGON ICRS')"}
    obscore: {map: {obs_publisher_did: obs_publisher_did, obs_id: obs_id, obs_collection: obs_collection}}
"""
LOGS = """\
collection: obsportal
title: Logs of interferometers
tables:
  exposures:
    source: {kind: votable, files: obsportal-output-10.votable.xml}
    primary: exp_id
    follow: true
    columns:
      exp_id: {type: string}
      target_ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      target_dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      exp_mjd_start: {type: float64, unit: d}
      exp_mjd_end: {type: float64, unit: d}
      longest: {type: float64, unit: m, description: Length of the first baseline at the begin}
    map: {longest: "regexp_extract(exp_projected_baselines, '''start'': ''([0-9.]+)''', 1)"}
    obscore:
      set: {dataproduct_type: visibility, calib_level: 0, obs_collection: obsportal, o_ucd: stat.fourier}
      map: {obs_id: obs_id, facility_name: interferometer_name, t_min: exp_mjd_start, t_max: exp_mjd_end}
  observations:
    source: {kind: query, adql: "SELECT obs_id, MIN(exp_mjd_start) AS t_min, MAX(exp_mjd_end) AS t_max, COUNT(*) AS n FROM obsportal.exposures GROUP BY obs_id"}
    primary: obs_id
  targets:
    source: {kind: query, adql: "SELECT target_id, MIN(target_name) AS name, COUNT(DISTINCT obs_id) AS n FROM obsportal.exposures GROUP BY target_id"}
    primary: target_id
"""
OIFITS = """\
collection: oidb
title: OIFITS files
tables:
  targets:
    source: {kind: fits, hdu: OI_TARGET, files: "*fits", ignore: "bad_*"}
    columns: {file_name: string, target_id: int32, target: string, ra: {type: float64, unit: deg}, dec: {type: float64, unit: deg}}
    map: {file_name: file.name, target: trim(TARGET), ra: RAEP0, dec: DECEP0}
  bands:
    source: {kind: fits, hdu: OI_WAVELENGTH, files: "*fits", ignore: "bad_*"}
    group_by: [file.name]
    columns: {file_name: string, em_min: {type: float64, unit: m}, em_max: {type: float64, unit: m}, channels: int32}
    map: {file_name: file.name, em_min: min(EFF_WAVE), em_max: max(EFF_WAVE), channels: count(*)}
  vis2:
    source: {kind: fits, hdu: OI_VIS2, files: "*fits", ignore: ["bad_*", "NGC5128*"]}
    group_by: [file.name, TARGET_ID]
    columns: {file_name: string, target_id: int32, n: int32, t_min: {type: float64, unit: d}, b_max: {type: float64, unit: m}}
    map: {file_name: file.name, target_id: TARGET_ID, n: count(*), t_min: min(MJD), b_max: "max(SQRT(UCOORD * UCOORD + VCOORD * VCOORD))"}
  main:
    source: {kind: query, adql: "SELECT * FROM oidb.targets JOIN oidb.vis2 USING (file_name, target_id) JOIN oidb.bands USING (file_name)"}
    primary: ident
    columns: {ident: string, target: string, ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}, dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}, t_min: {type: float64, unit: d}, em_min: {type: float64, unit: m}, em_max: {type: float64, unit: m}, b_max: {type: float64, unit: m}}
    text: {ident: "{url_encode(file_name)}_{target_id}"}
    obscore:
      set: {dataproduct_type: visibility, calib_level: 2, facility_name: an interferometer, o_ucd: stat.fourier}
      map: {target_name: target}
      radio: {map: {uv_distance_max: b_max}}
"""
CLUSTERS = """\
collection: psz2
title: Planck's SZ clusters
tables:
  main:
    source: {kind: fits, files: HFI_PCCS_SZ-union_R2.08.fits}
    primary: name
    columns:
      name: {type: string, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      pos_err: {type: float32, unit: deg, ucd: stat.error}
      redshift: {type: float64, ucd: src.redshift}
      mass: {type: float64, unit: 10**14solMass, ucd: phys.mass}
      mcxc: {type: string}
    map: {redshift: "CASE WHEN REDSHIFT >= 0 THEN REDSHIFT END", mass: CASE WHEN REDSHIFT >= 0 THEN MSZ END, mcxc: "nullif(trim(MCXC), '')"}
  deep:
    source: {kind: csv, files: DeepPlanck.csv}
    primary: name
    columns: {name: string, log_mass: float64}
    map: {name: "regexp_replace(regexp_replace(cluster, '[.]fits$', ''), '^PSZ2G', 'PSZ2 G')", log_mass: CNN_mass}
tests:
  - {query: SELECT COUNT(*) AS n FROM psz2.main, expect: {n: 1653}}
"""


def rows(site, adql):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return result.read_table().to_pylist()


def read_shared_files(*names):
    return {shared(f"data/{name}").name: shared(f"data/{name}").read_bytes() for name in names}


def test_obscore_of_hst(tmp_path):
    path = shared("data/vo/hst_obscore_padc.vot.xml.gz")
    table = votable.parse_single_table(path).to_table(use_names_over_ids=True)
    with open_site_with_uningested_files(
        tmp_path, HST, read_shared_files("vo/hst_obscore_padc.vot.xml.gz"), authority="example.org"
    ) as site:
        report = ingest_collection(site, "hst")
        distinct = len(set(table["obs_publisher_did"]))
        assert report.tables["hst.main"].published == distinct == len(table) == 4114
        site.refresh_published_state()
        found = {row["obs_publisher_did"]: row for row in rows(site, "SELECT * FROM ivoa.obscore")}
        assert len(found) == 4114
        for source in table[::97]:
            row = found[source["obs_publisher_did"]]
            for name in ("t_min", "em_max"):
                assert row[name] == (None if np.ma.is_masked(source[name]) else pytest.approx(source[name], rel=1e-12))
            assert row["s_region"] == source["s_region"]
        inside = rows(
            site, "SELECT COUNT(*) AS n FROM ivoa.obscore WHERE 1 = CONTAINS(POINT(s_ra, s_dec), CIRCLE(65.5, 19.5, 1))"
        )
        apart = np.hypot((table["s_ra"] - 65.5) * np.cos(np.radians(table["s_dec"])), table["s_dec"] - 19.5)
        assert abs(inside[0]["n"] - int((apart <= 1).sum())) <= 1


def test_archive_of_eso(tmp_path):
    with open_site_with_uningested_files(
        tmp_path,
        ESO,
        read_shared_files("vo/eso_raw_sinfoni_sgra.csv", "vo/eso_phase3_vvv_sgra.csv"),
        authority="example.org",
    ) as site:
        report = ingest_collection(site, "eso")
        assert [table.published for table in report.tables.values()] == [50, 50], report.format_text()
        site.refresh_published_state()
        found = {row["obs_publisher_did"]: row for row in rows(site, "SELECT * FROM ivoa.obscore")}
        assert len(found) == 100
        with shared("data/vo/eso_raw_sinfoni_sgra.csv").open() as file:
            for source in csv.DictReader(file):
                row = next(one for one in found.values() if one["obs_id"] == source["dp_id"])
                assert abs(row["t_min"] - Time(source["exp_start"].rstrip("Z")).mjd) * 86400 < 1e-3
                assert row["t_max"] - row["t_min"] == pytest.approx(float(source["exposure"]) / 86400, abs=1e-9)
        with shared("data/vo/eso_phase3_vvv_sgra.csv").open() as file:
            for source in csv.DictReader(file):
                row = found[source["obs_publisher_did"]]
                assert row["em_min"] == float(source["em_min"])
                assert row["s_region"].split()[2:] == source["s_region"].split()[2:]


def test_logs_of_interferometers(tmp_path):
    table = votable.parse_single_table(
        shared("data/interferometry/obsportal/obsportal-output-10.votable.xml")
    ).to_table()
    with open_site_with_uningested_files(
        tmp_path,
        LOGS,
        read_shared_files("interferometry/obsportal/obsportal-output-10.votable.xml"),
        authority="example.org",
    ) as site:
        report = ingest_collection(site, "obsportal")
        assert {name: one.published for name, one in report.tables.items()} == {
            "obsportal.exposures": len(table),
            "obsportal.observations": len(set(table["obs_id"])),
            "obsportal.targets": len(set(table["target_id"])),
        }
        [row] = rows(site, "SELECT longest FROM obsportal.exposures WHERE exp_id = 'GRAVI.2019-02-16T04:26:53.206_1'")
        assert row["longest"] == 50.159
        site.refresh_published_state()
        assert rows(site, "SELECT COUNT(*) AS n FROM ivoa.obscore WHERE t_max > t_min AND s_xel1 IS NULL") == [
            {"n": len(table)}
        ]


def test_oifits_files(tmp_path):
    files = sorted(shared("data/interferometry/oifits").glob("*fits"))
    with open_site_with_uningested_files(
        tmp_path, OIFITS, {path.name: path.read_bytes() for path in files}, authority="example.org"
    ) as site:
        report = ingest_collection(site, "oidb")
        expected = {}
        for path in files:
            with warnings.catch_warnings(), fits.open(path) as file:
                warnings.simplefilter("ignore")
                if "OI_VIS2" not in file:
                    continue
                # the first of each, as the source reads them
                vis2, bands = file["OI_VIS2"].data, file["OI_WAVELENGTH"].data
                for target in file["OI_TARGET"].data:
                    one = vis2[vis2["TARGET_ID"] == target["TARGET_ID"]]
                    if len(one):
                        key = (target["TARGET"].strip(), float(target["RAEP0"]), float(one["MJD"].min()))
                        expected[key] = (
                            float(np.hypot(one["UCOORD"], one["VCOORD"]).max()),
                            float(bands["EFF_WAVE"].min()),
                            float(bands["EFF_WAVE"].max()),
                        )
        found = rows(site, "SELECT * FROM oidb.main")
        assert len(found) == len(expected) > 12, report.format_text()
        for row in found:
            assert (row["b_max"], row["em_min"], row["em_max"]) == pytest.approx(
                expected[row["target"], row["ra"], row["t_min"]], rel=1e-6
            )
        site.refresh_published_state()
        assert rows(
            site, "SELECT COUNT(*) AS n FROM ivoa.obscore NATURAL JOIN ivoa.obscore_radio WHERE uv_distance_max > 0"
        ) == [{"n": len(found)}]


def test_clusters_of_planck(tmp_path):
    table = fits.getdata(shared("data/images/clusters/HFI_PCCS_SZ-union_R2.08.fits"))
    with open_site_with_uningested_files(
        tmp_path,
        CLUSTERS,
        read_shared_files("images/clusters/HFI_PCCS_SZ-union_R2.08.fits", "images/clusters/DeepPlanck.csv"),
    ) as site:
        report = ingest_collection(site, "psz2")
        assert [one.published for one in report.tables.values()] == [1653, 1094], report.format_text()
        found = {row["name"]: row for row in rows(site, "SELECT * FROM psz2.main")}
        for source in table[::13]:
            row = found[source["NAME"]]
            assert row["ra"] == source["RA"]
            assert row["pos_err"] == pytest.approx((source["POS_ERR"] * u.arcmin).to_value(u.deg), rel=1e-6)
            assert row["mass"] == (pytest.approx(source["MSZ"]) if source["REDSHIFT"] >= 0 else None)
        [joined] = rows(site, "SELECT COUNT(*) AS n FROM psz2.main JOIN psz2.deep USING (name)")
        assert joined["n"] == 1094


def test_an_asteroid_in_one_document(tmp_path):
    document = json.loads(shared("data/vo/jplsbdb_apophis.json").read_text())
    text = """\
collection: bodies
title: Bodies
tables:
  apophis:
    source: {kind: json, files: jplsbdb_apophis.json, records: .}
    columns: {name: string, kind: string, class: string}
    map: {name: object.fullname, kind: target_class(object.fullname), class: object.orbit_class.name}
"""
    with open_site_with_uningested_files(tmp_path, text, read_shared_files("vo/jplsbdb_apophis.json")) as site:
        ingest_collection(site, "bodies")
        [row] = rows(site, "SELECT * FROM bodies.apophis")
        assert (row["name"], row["kind"], row["class"]) == (
            document["object"]["fullname"],
            "asteroid",
            document["object"]["orbit_class"]["name"],
        )
