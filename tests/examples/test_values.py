"""What the examples publish, computed once more by astropy and from the files that they read."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from astropy import constants, units
from astropy.coordinates import get_body_barycentric_posvel, solar_system_ephemeris
from astropy.io import fits
from astropy.time import Time
from PIL import Image

from example_sites import ingest_all, open_example
from plugin_needs import require_plugins
from process_runner import run_hven, serve_site

pytestmark = pytest.mark.slow
Rows = Callable[[str], list[dict[str, str]]]


@pytest.fixture
def example_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Rows]]:
    """Give an example, ingested, and what answers queries over it."""
    with open_example(request.param, tmp_path) as site:
        ingest_all(site)

        def rows(query: str) -> list[dict[str, str]]:
            return list(csv.DictReader(run_hven("--site", site, "query", "-f", "csv", query).stdout.splitlines()))

        yield site, rows


def solar_longitude(times: Time) -> np.ndarray:
    """Compute Ls from where Mars is, and from its pole (IAU 2015): the angle from its spring along its orbit."""
    with solar_system_ephemeris.set("builtin"):
        (mars, speed), (sun, pace) = (get_body_barycentric_posvel(body, times) for body in ("mars", "sun"))
    here, going = (mars - sun).xyz.to_value("au"), (speed - pace).xyz.to_value("au/d")
    normal = np.cross(here.T, going.T)
    ra, dec = np.deg2rad([317.68143, 52.88650])
    pole = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    normal /= np.linalg.norm(normal, axis=1)[:, None]
    spring = np.cross(pole, normal)  # where the Sun crosses the equator, as Mars sees it
    spring /= np.linalg.norm(spring, axis=1)[:, None]
    seen = -here.T  # from Mars to the Sun
    return np.rad2deg(np.arctan2(np.sum(seen * np.cross(normal, spring), axis=1), np.sum(seen * spring, axis=1))) % 360


@pytest.mark.parametrize("example_site", ["04-omega-cubes-and-maps"], indirect=True)
def test_omega(example_site: tuple[Path, Rows]) -> None:
    site, rows = example_site
    head, *lines = (site / "psup.sql").read_text().splitlines()
    names = re.findall(r"(\w+) (?:text|integer|timestamp|smallint|double|bigint)", head)
    given = {row["name"]: row for row in (dict(zip(names, line.split("\t"), strict=True)) for line in lines[1:-1])}
    there = rows("SELECT * FROM omega_cubes.epn_core ORDER BY granule_uid")
    files = [name for row in given.values() for name in (row["sav_file"], row["nc_file"]) if name != r"\N"]
    assert sorted(row["file_name"] for row in there) == sorted(files)
    begins = Time([given[row["obs_id"]]["ut_start"] for row in there], scale="utc")
    assert [float(row["time_min"]) for row in there] == pytest.approx(begins.jd, abs=1e-9)
    away = (np.array([float(row["solar_longitude_min"]) for row in there]) - solar_longitude(begins) + 180) % 360 - 180
    assert abs(away).max() < 0.05
    for row in there:
        source = given[row["obs_id"]]
        assert [float(row["c1min"]), float(row["c1max"])] == pytest.approx(
            [float(source[name]) % 360 for name in ("lon_min", "lon_max")]
        )
        assert float(row["target_distance_min"]) == pytest.approx(
            (float(source["distance_min"]) * units.m).to_value(units.km), rel=1e-14
        )
        assert int(row["access_estsize"]) == int(source[f"{row['granule_gid']}_bytes"]) // 1024
    bands = [(constants.c / (each * units.um)).to_value(units.Hz) for each in (5.089, 0.3644)]
    assert [float(there[0]["spectral_range_min"]), float(there[0]["spectral_range_max"])] == pytest.approx(
        bands, rel=1e-12
    )
    maps = rows("SELECT obs_id, granule_gid, access_url, access_estsize FROM omega_maps.epn_core")
    items = {
        item["id"]: item["assets"]
        for item in map(json.loads, (path.read_text() for path in site.glob("collections/omega_maps/data/*")))
    }
    assert len(maps) == 2 * len(items)
    for row in maps:
        asset = items[row["obs_id"]][row["granule_gid"]]
        assert (row["access_url"], int(row["access_estsize"])) == (asset["href"], asset["size"] // 1024)


@pytest.mark.parametrize("example_site", ["05-gaia-dem"], indirect=True)
def test_gaia_dem(example_site: tuple[Path, Rows]) -> None:
    site, rows = example_site
    with (site / "collections/gaia_dem/data/gaia_dem.csv").open(newline="") as file:
        given = {f"aia_{row['id']}": row for row in csv.DictReader(file)}
    there = rows("SELECT * FROM gaia_dem.epn_core")
    assert len(there) == 4 * len(given)
    without = 0
    for row in there:
        source = given[row["obs_id"]]
        begin = Time(source["date_obs"], scale="utc")
        assert float(row["time_min"]) == pytest.approx(begin.jd, abs=1e-9)
        assert int(row["access_estsize"]) == int(source[f"{row['granule_gid']}_bytes"]) // 1024
        if not source["dsun_obs (m)"]:
            without += 1
            assert row["sun_distance_min"] == row["target_time_min"] == row["target_time_max"] == ""
            continue
        far = float(source["dsun_obs (m)"]) * units.m
        assert float(row["sun_distance_min"]) == pytest.approx(far.to_value(units.au), rel=1e-12)
        left = begin - (far / constants.c).to(units.s)
        assert abs((Time(row["target_time_min"], scale="utc") - left).to_value(units.s)) < 2e-6
    assert without == 12
    told = run_hven("--site", site, "ingest", "gaia_dem").stdout
    for name in ("target_time_min", "target_time_max", "sun_distance_min"):
        assert f"12 rows without dsun_obs (m): {name} left empty" in told
    observed = rows("SELECT obs_publisher_did, em_min, em_max, t_min FROM ivoa.obscore")
    assert len(observed) == len(there)
    assert all([float(row["em_min"]), float(row["em_max"])] == pytest.approx([9.4e-9, 33.5e-9]) for row in observed)
    left, distant = (
        sorted(float(row[name]) for row in table) for table, name in ((observed, "t_min"), (there, "time_min"))
    )
    assert left == pytest.approx(list(Time(distant, format="jd", scale="utc").mjd), abs=1e-9)


@pytest.mark.parametrize("example_site", ["06-nrh-quicklooks"], indirect=True)
def test_nrh(example_site: tuple[Path, Rows]) -> None:
    site, rows = example_site
    hits = json.loads((site / "collections/nrh/data/nrh-daily.json").read_text())["hits"]["hits"]
    there = {row["access_url"].rpartition("/")[2]: row for row in rows("SELECT * FROM nrh.epn_core")}
    pictures = "http://127.0.0.1:8080/collections/nrh/preview/data/looks"
    assert len(there) == sum(len(hit["_source"]["quicklooks"]) for hit in hits)
    for hit in hits:
        source = hit["_source"]
        good = [each for each in source["frequencies"] if each not in source["noisy"]]
        name = f"{hit['_id']}_{round(max(good) * 10)}.png" if good else "no-preview.png"
        for look in source["quicklooks"]:
            row = there[look["file"]]
            assert row["obs_id"] == hit["_id"]
            assert row["thumbnail_url"] == f"{pictures}/{name}?size=100"
            assert (row["noisy"] == "1") is (look["freq"] in source["noisy"])
            assert float(row["spectral_range_min"]) == pytest.approx(
                (look["freq"] * units.MHz).to_value(units.Hz), rel=1e-12
            )
            assert float(row["time_min"]) == pytest.approx(
                Time(source["date_obs"].rstrip("Z"), scale="utc").jd, abs=1e-9
            )
    assert (
        "the array is empty, so this source row creates no row: 1 row"
        in run_hven("--site", site, "ingest", "nrh").stdout
    )
    require_plugins("protocols", "previews")
    with serve_site(site) as server:
        days = {hit["_id"]: hit["_source"] for hit in hits if hit["_source"]["quicklooks"]}
        asked = urlencode({"ID": [f"{day}_1" for day in days], "RESPONSEFORMAT": "csv"}, doseq=True)
        with urllib.request.urlopen(f"{server.url}/datalink/nrh.epn_core", data=asked.encode()) as answer:
            links = list(csv.DictReader(answer.read().decode().splitlines()))
        for day, source in days.items():
            looks = [link for link in links if (link["ID"], link["semantics"]) == (f"{day}_1", "#preview")]
            good = sorted({*source["frequencies"]} - {*source["noisy"]}, reverse=True)
            assert [link["description"] for link in looks] == [f"{each:.1f} MHz" for each in good]
            assert {link["content_type"] for link in looks} <= {"image/png"}
        first = next(link for link in links if link["semantics"] == "#preview")
        for address, longest in ((first["access_url"], 2048), (first["access_url"] + "?size=100", 100)):
            with urllib.request.urlopen(address) as answer:
                picture = Image.open(io.BytesIO(answer.read()))
            assert max(picture.size) <= longest
            assert "CC-BY-4.0" in picture.info["Copyright"]
            assert "Station de radioastronomie" in picture.info["Copyright"]


@pytest.mark.parametrize("example_site", ["07-nda-and-expres"], indirect=True)
def test_dynamic_spectra(example_site: tuple[Path, Rows]) -> None:
    site, rows = example_site
    for name in ("nda_sun", "nda_jupiter"):
        lines = [line.split() for line in (site / f"collections/{name}/data/index.txt").read_text().splitlines()[1:]]
        there = {row["file_name"]: row for row in rows(f"SELECT * FROM {name}.epn_core")}
        assert sorted(there) == sorted(line[0] for line in lines)
        for file, begin, end, size in lines:
            times = [Time.strptime(text, "%Y%m%dT%H%M%S", scale="utc").jd for text in (begin, end)]
            assert [float(there[file]["time_min"]), float(there[file]["time_max"])] == pytest.approx(times, abs=1e-9)
            assert int(there[file]["access_estsize"]) == int(size) // 1024
    names = [line.split()[-1] for line in (site / "collections/expres/data/listing.txt").read_text().splitlines()[1:]]
    there = {row["granule_uid"]: row for row in rows("SELECT * FROM expres.epn_core")}
    assert sorted(there) == sorted(names)
    for name in names:
        _, observer, _, moon, *_, day, _ = name.split("_")
        row = there[name]
        assert (row["target_name"], row["time_refposition"]) == (f"Jupiter#{moon.title()}", observer.title())
        assert float(row["time_min"]) == Time.strptime(day, "%Y%m%d", scale="utc").jd == float(row["time_max"]) - 1


@pytest.mark.parametrize("example_site", ["08-bass2000-daily"], indirect=True)
def test_daily_images(example_site: tuple[Path, Rows]) -> None:
    site, rows = example_site
    database = sqlite3.connect(site / "collections/bass2000/data/bass2000.sqlite")
    given = {
        f"bass2000_{row[0]:06d}": row
        for row in database.execute("SELECT id, jdint, jdfraction, wave_nm, path FROM daily WHERE cloudy = 0")
    }
    database.close()
    there = {row["granule_uid"]: row for row in rows("SELECT * FROM bass2000.epn_core")}
    assert sorted(there) == sorted(given)
    for name, (_, day, fraction, wave, path) in given.items():
        row, moment = there[name], Time(day, fraction, format="jd", scale="utc")
        assert row["date_obs"] == moment.strftime("%Y-%m-%dT%H:%M:%S")  # whole seconds, as meant
        assert float(row["time_min"]) == pytest.approx(moment.jd, abs=1e-9)
        assert row["access_url"].endswith(f"/collections/bass2000/files/ftp/{path.replace(' ', '%20')}")
        assert row["access_format"] == {"fits": "application/fits", "jpg": "image/jpeg"}[path.rpartition(".")[2]]
        assert float(row["spectral_range_min"]) == pytest.approx(
            (constants.c / (wave * units.nm)).to_value(units.Hz), rel=1e-12
        )
    observed = rows("SELECT s_resolution, em_min, t_min FROM ivoa.obscore")
    assert len(observed) == len(given)
    assert all(
        float(row["s_resolution"]) == pytest.approx((0.0005 * units.deg).to_value(units.arcsec)) for row in observed
    )


@pytest.mark.parametrize("example_site", ["15-header-validation"], indirect=True)
def test_headers(example_site: tuple[Path, Rows]) -> None:
    site, rows = example_site
    with (site / "collections/headers/data/headers.csv").open(newline="") as file:
        given = list(csv.DictReader(file))

    def compute_flags(row: dict[str, str]) -> int:
        begin, end = row["exp_mjd_start"], row["exp_mjd_end"]
        wrong = (
            not begin, bool(begin) and float(begin) > float(end), not row["target_ra"], float(row["elevation"]) <= 0,
            float(row["target_dec"] or 0) > 65.4, row["obs_type"] not in {"science", "calibrator"}, not row["interferometer_stations"],
            row["obs_program"].startswith("60.A"),
        )  # fmt: skip
        return sum(1 << bit for bit, fault in enumerate(wrong) if fault)

    wanted = {row["exp_id"]: compute_flags(row) for row in given}
    assert {
        row["exp_id"]: int(row["quality_flags"]) for row in rows("SELECT exp_id, quality_flags FROM headers.main")
    } == wanted
    assert sorted(set(wanted.values())) != [0]
    assert int(rows("SELECT COUNT(*) AS n FROM headers.valid")[0]["n"]) == sum(not flags for flags in wanted.values())
    said = json.loads(run_hven("--site", site, "history", "headers", "--rules", "--json").stdout)[0]["tables"][
        "headers.main"
    ]
    assert list(said["rules"].values()) == [sum(flags >> bit & 1 for flags in wanted.values()) for bit in range(8)]
    shares: dict[tuple[str, str | None], list[bool]] = {}
    for row in given:
        year = Time(float(row["exp_mjd_start"]), format="mjd").strftime("%Y") if row["exp_mjd_start"] else None
        shares.setdefault((row["instrument_name"], year), []).append(
            wanted[row["exp_id"]] & ~(1 << 7) != 0
        )  # 7 is of severity info: counted, and no fault
    assert {tuple(one["of"]): (one["rows"], one["flagged"]) for one in said["groups"]} == {
        group: (len(flags), sum(flags)) for group, flags in shares.items()
    }


@pytest.mark.parametrize("example_site", ["19-time-series"], indirect=True)
def test_time_series(example_site: tuple[Path, Rows]) -> None:
    """What HAPI says, and what the page draws, are the files' values: at the channels that each day has."""
    site, rows = example_site
    assert [row["samples"] for row in rows("SELECT samples FROM orfees.spectra")] == ["3000", "3000"]
    with serve_site(site) as server:

        def tile(name: str, parameter: str, width: int, moment: float) -> tuple[np.ndarray, Any, int]:
            number = int(moment * 1_000_000 // (512 * width))
            asked = f"{server.url}/series/{name}?PARAMETER={parameter}&WIDTH={width}&TILE={number}&SHOW=peak"
            with urllib.request.urlopen(asked) as answer:
                return np.load(io.BytesIO(answer.read())), answer.headers, number * 512 * width

        for path in sorted((site / "collections/nda/data").glob("*.fits")):
            with fits.open(path) as hdus:
                frequency, table = hdus[1].data["frequency"][0], hdus[2].data
                moments, values = (table["jd"] - 2440587.5) * 86_400, table["DATA"][:, :, 0].astype("f8")
            assert values.shape == (len(moments), len(frequency))
            codes, headers, begin = tile("nda_newroutine", "ll", 3_000_000, float(moments[300]))
            half = (frequency[1] - frequency[0]) / 2
            low, high = (float(headers[f"x-{name}"]) for name in ("low", "high"))
            assert (low, high) == pytest.approx((frequency[0] - half, frequency[-1] + half))
            place = np.floor((moments * 1e6 - begin) / 3_000_000 + 1e-3).astype(int)
            inside = (place >= 0) & (place < 512)
            assert inside.sum() > 200
            assert (codes[:, place[inside]] > 1).all()
            rows_of = ((frequency - low) / (high - low) * len(codes)).astype(int)
            known = [float(headers[f"x-{name}"]) for name in ("zero", "scale", "bend")]
            shown = known[0] + known[1] * np.sinh(
                known[2] * (codes[rows_of][:, place[inside]].astype("f8") - 128) / 126
            )
            assert np.corrcoef(shown.ravel(), values[inside].T.ravel())[0, 1] > 0.999
        flare, _, _ = tile("goes_xrs", "xrsb", 60_000_000, 1397808000.0 + 600)
        with (site / "collections/goes/data/xrs.csv").open(newline="") as file:
            most = max(float(row["xrsb"]) for row in csv.DictReader(file) if row["obs_time"] < "2014-04-18T12")
        assert np.nanmax(flare[2][np.isfinite(flare[2])]) == pytest.approx(most, rel=1e-6)
        features = json.loads(
            urllib.request.urlopen(f"{server.url}/collections/orfees/bursts/download?_as=tfcat").read()
        )
        given = json.loads((site / "collections/orfees/data/bursts.tfcat.json").read_text())
        assert [one["geometry"] for one in features["features"]] == [one["geometry"] for one in given["features"]]


@pytest.mark.parametrize("example_site", ["20-from-servers"], indirect=True)
def test_rows_of_the_examples_equal_those_of_the_servers(example_site: tuple[Path, Rows]) -> None:
    """Rows are what the servers hold, and the faults of the index are named."""
    site, rows = example_site
    held = {path.stem: json.loads(path.read_text()) for path in site.glob("served/*.json")}
    days = [one for one in held["nrh_index"]["documents"] if one["status"] == "checked"]
    expected = [
        (f"nrh_{one['day']}", float(re.search(r"_(\d+)\.gif", look["file"])[1]) / 10, look["label"], look["file"])
        for one in days
        for look in one["quicklooks"]
    ]
    there = rows("SELECT obs_id, spectral_range_min, label, file_name FROM nrh_index.epn_core")
    found = [(one["obs_id"], float(one["spectral_range_min"]) / 1e6, one["label"], one["file_name"]) for one in there]
    assert sorted(found) == sorted(expected)
    wrong = [number for number, one in enumerate(expected, 1) if one[2] == "2280 MHz"]
    twice = next(name for name, band, *_ in expected if sum(one[:2] == (name, band) for one in expected) > 1)
    assert len(wrong) == 2
    told = run_hven("--site", site, "ingest", "nrh_index").stdout
    assert "a label in tenths of MHz that says MHz: 2 rows" in told
    assert told.count("label = 2280 MHz") == 2
    assert "a day has one frequency twice: 1 row" in told
    assert f"obs_id = {twice}" in told
    files = rows("SELECT granule_uid, spectral_range_min, spectral_range_max, bands FROM orfees.epn_core")
    assert {one["granule_uid"]: (float(one["spectral_range_min"]), float(one["spectral_range_max"]), one["bands"]) for one in files} == {
        one["fits"]["name"]: (min(band["low"] for band in one["bands"]) * 1e6, max(band["high"] for band in one["bands"]) * 1e6, "#".join(band["name"] for band in one["bands"]))
        for one in held["orfees"]["documents"]
    }  # fmt: skip
    cubes = rows("SELECT granule_uid, c1min, c2min, incidence_min, access_url FROM omega_api.epn_core")
    items = {one["id"]: one for one in held["omega_api"]["items"]}
    assert len(cubes) == len(items)
    for row in cubes:
        item = items[row["granule_uid"]]
        place = [float(row["c1min"]), float(row["c2min"])]
        assert place == pytest.approx(
            [item["bbox"][0] % 360, item["bbox"][1]], abs=0.1
        )  # of arcs, not of straight lines
        assert float(row["incidence_min"]) == item["properties"]["view:incidence_angle"]
        assert row["access_url"] == item["assets"]["cube"]["href"]
    with sqlite3.connect(site / "hfc.sqlite") as database:
        truth = database.execute(
            "SELECT 'sp_' || ID_SUNSPOT, FEAT_CARR_LONG_DEG, FEAT_DIAM_DEG, JDINT + JDFRAC FROM SUNSPOTS JOIN OBSERVATIONS ON OBSERVATIONS_ID = ID_OBSERVATIONS"
        ).fetchall()
    database.close()
    spots = rows("SELECT granule_uid, c1min, spot_diameter, time_min FROM hfc_spots.epn_core")
    for ours, theirs in zip(sorted(tuple(one.values()) for one in spots), sorted(truth), strict=True):
        assert (ours[0], *map(float, ours[1:])) == (theirs[0], *map(pytest.approx, theirs[1:]))


@pytest.mark.parametrize("example_site", ["22-from-files"], indirect=True)
def test_rows_of_the_examples_equal_those_of_the_files(example_site: tuple[Path, Rows]) -> None:
    """Granules are what astropy finds in the tables of the files; cubes what the labels in the archives say."""
    site, rows = example_site
    expected: dict[tuple[str, str, str, int], tuple[int, float]] = {}
    for path in site.glob("collections/oifits_granules/data/GRAVI_[0-9]*.fits"):
        with fits.open(path) as file:
            names = dict(zip(file["OI_TARGET"].data["TARGET_ID"], file["OI_TARGET"].data["TARGET"], strict=True))
            for table in (hdu for hdu in file if hdu.name == "OI_VIS2"):
                for line in table.data:
                    key = (path.name, names[line["TARGET_ID"]], table.header["INSNAME"], int(line["MJD"]))
                    count, longest = expected.get(key, (0, 0.0))
                    expected[key] = count + 1, max(longest, float(np.hypot(line["UCOORD"], line["VCOORD"])))
    found = rows("SELECT file_name, target_name, instrument_mode, t_min, nb_vis2, b_max FROM oifits_granules.main")
    assert len(found) == len(expected) == 26
    for one in found:
        key = (one["file_name"], one["target_name"], one["instrument_mode"], int(float(one["t_min"])))
        assert (int(one["nb_vis2"]), float(one["b_max"])) == pytest.approx(expected[key])
    whole = (site / "collections/oifits_granules/data/GRAVI_00.fits").read_bytes()
    (site / "collections/oifits_granules/data/GRAVI_cut.fits").write_bytes(whole[: len(whole) // 2])
    told = run_hven("--site", site, "ingest", "oifits_granules").stdout
    assert "26 rows (1 rejected of 27 read)" in told
    assert "GRAVI_cut.fits" in told
    labels = {}
    for path in site.glob("collections/pds_cubes/data/*.zip"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".QUB"):
                    text = archive.read(name)[:2048].decode("latin-1")
                    sizes = [int(size) for size in re.search(r"CORE_ITEMS = \((.*)\)", text)[1].split(",")]
                    labels[re.search(r'PRODUCT_ID = "(.*)"', text)[1]] = path.name, *sizes
    cubes = rows("SELECT obs_id, volume, samples, bands, lines FROM pds_cubes.epn_core")
    assert {
        one["obs_id"]: (one["volume"], int(one["samples"]), int(one["bands"]), int(one["lines"])) for one in cubes
    } == labels
