"""Real tables about the Sun as small collections: coronal holes of the HFC, SPoCA's maps and log, event lists of the HEC, flares, headers of images."""

from __future__ import annotations

import csv
import gzip
import io
import sqlite3
import sys
import warnings
from pathlib import Path

import pytest
from astropy import units as u
from astropy.io import fits, votable
from astropy.table import Table
from astropy.time import Time

from plugin_needs import require_plugins

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from asgi_client import Client

from hven import query
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import HvenError
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from shared import shared

CHARM = """\
collection: charm
title: Coronal holes of 2009 (CHARM)
tables:
  holes:
    source: {kind: csv, files: ch_results.csv.gz, delimiter: semicolon}
    primary: ident
    let:
      run: parse_time(RUN_DATE)
      observed: parse_time(OBS_DATE)
    columns:
      ident: {type: int32, ucd: meta.id;meta.main, description: Number of the hole}
      group_id: {type: int32, ucd: meta.id, description: Number of its group}
      observed: {type: timestamp, ucd: time.start, description: When it was observed}
      run: {type: timestamp, ucd: time.processing, description: When the code ran}
      x: {type: float64, unit: arcsec, description: Centre towards the west}
      y: {type: float64, unit: arcsec, description: Centre towards the north}
      lon_min: {type: float64, unit: deg, description: Eastern edge}
      lat_min: {type: float64, unit: deg, description: Southern edge}
      chain_code: {type: string, description: Freeman code of the outline}
      chain_length: {type: int32, description: Its length}
      image: {type: string, description: Name of the image}
    map:
      ident: '"ID"'
      group_id: CHG_NUM
      observed: observed
      run: run
      x: split_part(CHC_ARC, ',', 1)
      y: split_part(CHC_ARC, ',', 2)
      lon_min: split_part(CH_BR_DEG, ',', 1)
      lat_min: split_part(CH_BR_DEG, ',', 2)
      chain_code: CHAIN_CODE
      chain_length: CC_LENGTH
      image: EIT_FILE
    rules:
      freeman: {check: pattern, columns: chain_code, of: "[0-7]*"}
      order: {if: run >= observed, severity: warning, message: "the code ran before the observation: are the two dates swapped?"}
  observations:
    source: {kind: csv, files: ch_observation.csv.gz, delimiter: semicolon}
    primary: ident
    columns:
      ident: {type: int32, description: Number of the observation}
      observatory: {type: string, description: Observatory}
      started: {type: timestamp, description: Begin}
      jd: {type: float64, unit: d, description: Begin as Julian Date}
      file_name: {type: string, description: Name of the image}
    map: {ident: '"ID"', started: parse_time(DATE_OBS), jd: JDINT + JDFRAC, file_name: FILENAME}
    lookup:
      observatory: {from: OBSERVATORY_ID, table: {kind: csv, files: ch_observatory.csv, delimiter: semicolon, header: false, names: [id, who, what, units, wave, unit, line, x, kind, mode]}, key: id, value: what}
    rules:
      times: {if: "ABS(jd - ivo_to_jd(started)) < 0.00002", severity: warning, message: the two times differ}
  groups:
    source: {kind: csv, files: ch_groups.csv.gz, delimiter: semicolon}
    primary: ident
    columns: {ident: int32, members: string, area: {type: int32, unit: pix}}
    map: {ident: '"ID"', members: CH_NUMS, area: CHGR_AREA_PIX}
"""
SPOCA = """\
collection: spoca
title: SPoCA
tables:
  regions:
    source: {kind: fits, hdu: Regions, files: "*Map.fits"}
    primary: hekid
    columns: {hekid: {type: string, ucd: meta.id;meta.main}, map: string, colour: int32, kind: string, observed: timestamp, first_seen: timestamp, x0: int32, x1: int32, y0: int32, y1: int32}
    map: {map: file.stem, colour: COLOR, kind: "CASE WHEN file.name LIKE '%AR%' THEN 'AR' ELSE 'CH' END", observed: DATE_OBS, first_seen: FIRST_DATE_OBS, x0: XBOXMIN, x1: XBOXMAX, y0: YBOXMIN, y1: YBOXMAX}
    rules: {box: x1 >= x0 AND y1 >= y0}
    links:
      - {semantics: counterpart, from: steps, where: steps.present = target.hekid, text: "{site.url}/datalink/spoca.regions?ID={steps.past}", description: "it {steps.relation} that of {steps.before}"}
      - {semantics: counterpart, from: steps, where: steps.past = target.hekid, text: "{site.url}/datalink/spoca.regions?ID={steps.present}", description: "{steps.relation} it at {steps.after}"}
  relations:
    source: {kind: fits, hdu: TrackingRelations, files: "*230008.CHMap.fits"}
    columns: {map: string, past: int32, relation: string, present: int32}
    map: {map: file.stem, past: PAST_COLOR, relation: RELATION_TYPE, present: PRESENT_COLOR}
  steps:                                      # from one map to the next of its kind
    source:
      kind: query
      adql: >-
        SELECT r.relation, p.hekid AS past, n.hekid AS present, p.observed AS before, n.observed AS after
        FROM spoca.relations AS r JOIN spoca.regions AS n ON n.map = r.map AND n.colour = r.present
        JOIN spoca.regions AS p ON p.colour = r.past AND p.kind = n.kind AND p.observed < n.observed
  runs:
    source:
      kind: sql
      file: spoca.sqlite
      query: >-
        SELECT p.*, f.FEATURE_NAME, f.INSTITUT, o.INSTRUME, o.WAVEMIN, o.WAVEUNIT FROM PROCESSING_HISTORY p LEFT JOIN FRC_INFO f ON FRC_INFO_ID = ID_FRC_INFO
        LEFT JOIN OBSERVATORY o ON OBSERVATORY_ID = ID_OBSERVATORY
    primary: id
    columns: {id: int32, feature: string, instrument: string, observed: timestamp, run: timestamp, status: string, delay: {type: float64, unit: d}}
    map: {feature: FEATURE_NAME, instrument: INSTRUME, observed: parse_time(DATE_OBS), run: "parse_time(nullif(FEAT_RUN_DATE, 'None'))", delay: jd(target.run) - jd(target.observed)}
"""
EVENTS = """\
collection: events
title: Events
tables:
  goes:
    source: {kind: votable, files: hec_goes_xray.vot.xml.gz}
    primary: goes_id
    follow: true
    columns: {time_start: timestamp, time_peak: timestamp, time_end: timestamp, flux: {type: float64, unit: W.m**-2}}
    map: {flux: "CAST(substring(xray_class, 2) AS DOUBLE PRECISION) * CASE substring(xray_class, 1, 1) WHEN 'A' THEN 1e-8 WHEN 'B' THEN 1e-7 WHEN 'C' THEN 1e-6 WHEN 'M' THEN 1e-5 WHEN 'X' THEN 1e-4 END"}
    rules: {order: {if: time_start <= time_peak AND time_peak <= time_end, severity: warning}}
  orbits:
    source: {kind: votable, files: ils_trajectories_1.xml}
    follow: true
    columns: {time: timestamp, two_parts: timestamp}
    map: {two_parts: "from_jd(julian_int, julian_fractional)"}
  regions: {source: {kind: votable, files: noaa_active_region_summary_1.xml}}
  cmes: {source: {kind: votable, files: cactus_soho_cme_1.xml}}
  empty: {source: {kind: votable, files: wind_typeii_soho_cme_1.xml}, max_rejects: 1}
  bursts:
    source: {kind: csv, files: wind_typeii_soho_cme.txt, delimiter: pipe}
    columns: {started: timestamp, f_max: {type: float64, unit: Hz}, f_min: {type: float64, unit: Hz}, xray_class: string}
    map:
      started: parse_time(time_start)
      f_max: gavo_specconv(CAST(freq_start AS DOUBLE PRECISION), 'kHz', 'Hz')
      f_min: gavo_specconv(CAST(freq_end AS DOUBLE PRECISION), 'kHz', 'Hz')
  icmes: {source: {kind: csv, files: icme_earth_cycle23.txt, delimiter: pipe}}
  shocks: {source: {kind: csv, files: soho_pm_ip_shock.txt, delimiter: pipe}}
  flares: {source: {kind: csv, files: hec_goes_20120101-20120103.ecsv}}
  hessi:
    source: {kind: fits, hdu: HSI_FLARELISTDATA, files: "hessi_flare_list_*.fits"}
    primary: id_number
    columns: {id_number: int64, started: timestamp, ended: timestamp, total_counts: float64}
    let: {}
    map: {started: "from_unix(START_TIME + 283996800)", ended: "from_unix(END_TIME + 283996800)"}
"""
IMAGES = """\
collection: sun
title: Images of the Sun
created: 2026-01-01
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: celestial
    optional: [file_name, spatial_coordinate_description, sun_distance, target_time]
    source: {kind: fits, mode: header, files: ["*.fits", "*.fts"]}
    let:
      start: parse_time(coalesce(header('DATE-OBS'), DATE_OBS))
    set: {target_name: Sun, target_class: star, dataproduct_type: im, processing_level: 3, measurement_type: phot.radiance, spatial_coordinate_description: HPC}
    text: {granule_uid: "{file.stem}", obs_id: "{file.stem}", file_name: "{file.name}"}      # some files have a card OBS_ID
    map:
      instrument_host_name: clean(TELESCOP)
      instrument_name: clean(coalesce(INSTRUME, DETECTOR))
      time_min: jd(start)
      time_exp_min: EXPTIME
      spectral_range_min: CASE WHEN WAVELNTH > 0 AND INSTRUME <> 'COSMO K-Coronagraph' THEN gavo_specconv(WAVELNTH, 'Angstrom', 'Hz') END
      c1min: lon_360(CRVAL1 + (0.5 - CRPIX1) * CDELT1)      # arcsec, as comments of some cards say: they become degrees by themselves
      c1max: lon_360((CRVAL1 + (NAXIS1 + 0.5 - CRPIX1) * CDELT1) / 3600.0)
      c2min: CRVAL2 + (0.5 - CRPIX2) * CDELT2
      c2max: (CRVAL2 + (NAXIS2 + 0.5 - CRPIX2) * CDELT2) / 3600.0
      sun_distance_min: DSUN_OBS / 149597870700.0
      target_time_min: target_time(start, DSUN_OBS, 'm')
"""


def rows(site, adql):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return result.read_table().to_pylist()


def read_shared_files(*patterns):
    found = {}
    for pattern in patterns:
        directory, _, name = pattern.rpartition("/")
        paths = sorted(shared(f"data/{directory}").glob(name))
        assert paths, pattern
        found |= {path.name: path.read_bytes() for path in paths}
    return found


def test_coronal_holes_of_the_hfc(tmp_path):
    files = read_shared_files("helio/hfc/charm/*")
    lines = list(csv.reader(io.StringIO(gzip.decompress(files["ch_results.csv.gz"]).decode()), delimiter=";"))
    with open_site_with_uningested_files(tmp_path, CHARM, files) as site:
        report = ingest_collection(site, "charm")
        # the headers RUN_DATE and OBS_DATE stand over each other's values: the rule notices it
        assert "the code ran before the observation: are the two dates swapped?: 1,219 rows" in report.format_text()
        assert {name: table.published for name, table in report.tables.items()} == {
            "charm.holes": 1219, "charm.observations": 558, "charm.groups": 831,
        }  # fmt: skip
    swapped = CHARM.replace("run: parse_time(RUN_DATE)", "run: parse_time(OBS_DATE)").replace(
        "observed: parse_time(OBS_DATE)", "observed: parse_time(RUN_DATE)  # the header has them swapped"
    )
    with open_site_with_uningested_files(tmp_path, swapped, files) as site:
        report = ingest_collection(site, "charm")
        assert "swapped" not in report.format_text()
        found = {row["ident"]: row for row in rows(site, "SELECT * FROM charm.holes")}
        for line in lines[1:]:
            row = found.pop(int(line[0]))
            assert row["observed"].isoformat()[:19] == line[31][:19]
            assert row["run"].isoformat() == line[32][:19]
            assert [row["x"], row["y"]] == [float(part) for part in line[10].split(",")]
            assert row["chain_code"] == line[26]
        assert not found
        joined = rows(site, "SELECT COUNT(*) AS n FROM charm.holes AS h JOIN charm.groups AS g ON h.group_id = g.ident")
        assert joined[0]["n"] == 1219
        seen = rows(
            site, "SELECT observatory, COUNT(*) AS n FROM charm.observations GROUP BY observatory ORDER BY observatory"
        )
        assert sum(row["n"] for row in seen) == 558
        for row in rows(site, "SELECT TOP 50 started, jd FROM charm.observations"):
            assert abs(Time(row["started"].isoformat()).jd - row["jd"]) * 86400 < 2


def test_spoca_maps_and_log(tmp_path):
    require_plugins("sources", "sql")
    files = read_shared_files("helio/spoca/*.fits") | {
        "spoca.sqlite": shared("data/helio/hfc/spoca_hfc_db.ias.sqlite").read_bytes()
    }
    with open_site_with_uningested_files(tmp_path, SPOCA, files) as site:
        report = ingest_collection(site, "spoca")
        assert {name: table.rejected for name, table in report.tables.items() if table.rejected} == {}
        check_tracked_regions(site)
        found = {row["hekid"]: row for row in rows(site, "SELECT * FROM spoca.regions")}
        assert len(found) == 7 + 5 + 6
        for path in sorted(shared("data/helio/spoca").glob("*.fits")):
            for region in fits.getdata(path, "Regions"):
                row = found.pop(region["HEKID"])
                assert (row["x0"], row["y1"], row["kind"]) == (region["XBOXMIN"], region["YBOXMAX"], path.name[16:18])
                assert row["first_seen"].isoformat() == region["FIRST_DATE_OBS"]
        base = sqlite3.connect(f"file:{shared('data/helio/hfc/spoca_hfc_db.ias.sqlite')}?mode=ro", uri=True)
        [(count, runs)] = base.execute("SELECT count(*), sum(FEAT_RUN_DATE <> 'None') FROM PROCESSING_HISTORY")
        ident, seen, run = base.execute(
            "SELECT ID, DATE_OBS, FEAT_RUN_DATE FROM PROCESSING_HISTORY WHERE ID = 3"
        ).fetchone()
        base.close()
        assert rows(site, "SELECT COUNT(*) AS n, COUNT(run) AS runs FROM spoca.runs") == [{"n": count, "runs": runs}]
        [row] = rows(site, f"SELECT * FROM spoca.runs WHERE id = {ident}")
        # Julian dates of UTC: without leap seconds
        assert row["delay"] == pytest.approx(Time(run).jd - Time(seen).jd, abs=1e-6)
        assert (row["feature"], row["instrument"]) == ("ACTIVE REGIONS", "AIA")


def check_tracked_regions(site):
    """Regions of one map lead to those of the other that they follow, as SPoCA's relations say, and back; what is new leads nowhere."""
    site.refresh_published_state()
    client = Client(create_and_start_application(site))

    def links(ident):
        answer = client.ask("GET", f"/datalink/spoca.regions?ID={ident}&RESPONSEFORMAT=csv")
        return [
            (one["semantics"], one["access_url"].partition("?ID=")[2], one["description"])
            for one in csv.DictReader(io.StringIO(answer.text))
        ]

    before, now = (
        {
            row["COLOR"]: row["HEKID"]
            for row in fits.getdata(shared(f"data/helio/spoca/20111231_{at}.CHMap.fits"), "Regions")
        }
        for at in ("220008", "230008")
    )
    relations = fits.getdata(shared("data/helio/spoca/20111231_230008.CHMap.fits"), "TrackingRelations")
    assert len(relations) == 6
    for relation in relations:
        past, present = before.get(relation["PAST_COLOR"]), now[relation["PRESENT_COLOR"]]
        if past is None:
            assert (relation["RELATION_TYPE"], links(present)) == ("new", [])
            continue
        assert links(present) == [("#counterpart", past, "it follows that of 2011-12-31 22:00:08")]
        assert links(past) == [("#counterpart", present, "follows it at 2011-12-31 23:00:08")]


def test_event_lists(tmp_path):
    files = read_shared_files(
        "helio/hec/*.xml*", "helio/hec/lists/*.txt", "helio/flares/hec_goes*.ecsv", "helio/flares/hessi*.fits"
    )
    with open_site_with_uningested_files(tmp_path, EVENTS, files) as site:
        report = ingest_collection(site, "events")
        published = {name.partition(".")[2]: table.published for name, table in report.tables.items()}
        assert published["goes"] == 1000
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, path in (
                ("regions", "noaa_active_region_summary_1.xml"),
                ("cmes", "cactus_soho_cme_1.xml"),
                ("orbits", "ils_trajectories_1.xml"),
            ):
                assert published[name] == len(votable.parse_single_table(shared(f"data/helio/hec/{path}")).to_table())
        assert published["empty"] == 0
        assert (published["icmes"], published["shocks"], published["flares"], published["hessi"]) == (322, 279, 12, 23)
        for row in rows(site, 'SELECT "time", two_parts FROM events.orbits'):
            assert abs((row["time"] - row["two_parts"]).total_seconds()) < 1
        flares = rows(site, "SELECT xray_class, flux FROM events.goes WHERE xray_class LIKE 'X%'")
        assert flares
        assert all(row["flux"] == pytest.approx(float(row["xray_class"][1:]) * 1e-4) for row in flares)
        goes = Table.read(shared("data/helio/flares/hec_goes_20120101-20120103.ecsv"))
        assert sorted(row["hec_id"] for row in rows(site, "SELECT hec_id FROM events.flares")) == sorted(goes["hec_id"])
        first = min(
            fits.getdata(path, "HSI_FLARELISTDATA")["START_TIME"].min()
            for path in shared("data/helio/flares").glob("hessi*.fits")
        )
        [row] = rows(site, "SELECT MIN(started) AS t FROM events.hessi")
        assert (
            abs((Time(row["t"].isoformat()) - Time("1979-01-01") - first * u.s).to_value(u.s)) < 40
        )  # but for leap seconds, which RHESSI does not count


def test_headers_of_images(tmp_path):
    files = read_shared_files("helio/images/*.fits", "helio/images/*.fts")
    with open_site_with_uningested_files(tmp_path, IMAGES, files) as site:
        report = ingest_collection(site, "sun")
        found = {row["file_name"]: row for row in rows(site, "SELECT * FROM sun.epn_core")}
        assert len(found) == len(files) == report.tables["sun.epn_core"].published
        for path in shared("data/helio/images").glob("*.f*ts"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a BLANK among floats
                cards = fits.getheader(path)
            row = found[path.name]
            for name, axis, pixel in (
                ("c1min", 1, 0.5),
                ("c1max", 1, cards["NAXIS1"] + 0.5),
                ("c2min", 2, 0.5),
                ("c2max", 2, cards["NAXIS2"] + 0.5),
            ):
                angle = (cards[f"CRVAL{axis}"] + (pixel - cards[f"CRPIX{axis}"]) * cards[f"CDELT{axis}"]) / 3600
                assert row[name] == pytest.approx(angle % 360 if axis == 1 else angle, abs=1e-9), (path.name, name)
            start = Time(str(cards.get("DATE-OBS") or cards["DATE_OBS"]).rstrip("Z"))
            assert abs(row["time_min"] - start.jd) * 86400 < 1e-4
            if row["target_time_min"] is not None:
                assert (start - Time(row["target_time_min"].isoformat())).to_value(u.s) == pytest.approx(
                    cards["DSUN_OBS"] / 299792458, abs=1e-3
                )
        assert found["aia_171_level1.fits"]["spectral_range_min"] == pytest.approx(
            (171 * u.AA).to_value(u.Hz, u.spectral())
        )
        assert sum(row["sun_distance_min"] is not None for row in found.values()) >= 3


def test_a_rule_may_refuse_what_is_swapped(tmp_path):
    """As an error the same rule keeps everything out, and says where to look."""
    files = read_shared_files("helio/hfc/charm/*")
    with open_site_with_uningested_files(
        tmp_path, CHARM.replace('severity: warning, message: "the code', 'message: "the code'), files
    ) as site:
        with pytest.raises(HvenError) as caught:
            ingest_collection(site, "charm")
        assert "swapped" in str(caught.value)
        with pytest.raises(HvenError, match=r"no table|charm\.holes"):
            rows(site, "SELECT * FROM charm.holes")
