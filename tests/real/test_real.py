"""Real collections of the three centres, described beside this file; what they say is read once more from the files themselves."""

from __future__ import annotations

import csv
import json
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy import constants, units
from astropy.coordinates import angular_separation

from hven.descriptor import check_descriptor
from hven.ingest.api.runs import IngestReport, ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from process_runner import run_hven
from shared import EXAMPLES_FACTOR, shared

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
PSUP = {
    "psup_cubes": ("omega_catalogs", "catalog/"), "psup_maps": ("omega_catalogs", "catalog/"),
    "psup_craters": ("ias_costard_craters", "catalog/features_datasets/"), "psup_hydrated": ("ias_hyd_global_290615", "catalog/features_datasets/"),
}  # fmt: skip


def publish_collection(name: str, directory: Path, every: int = 1) -> tuple[Path, IngestReport]:
    """Make a site of one collection, with the data unpacked beside its descriptor: all items, or one of so many."""
    place = directory / "collections" / name
    shutil.copytree(HERE / name, place)
    (place / "data").mkdir()
    if name in PSUP:
        archive, top = PSUP[name]
        with tarfile.open(shared(f"data/planetary/psup/{archive}.tar.xz")) as packed:
            for number, member in enumerate(packed):
                if not (member.isfile() and member.name.endswith(".json") and member.name.count("/") > top.count("/")):
                    continue
                if number % every == 0:
                    target = place / "data" / member.name.removeprefix(top)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(packed.extractfile(member).read())  # type: ignore[union-attr]
        for path in (place / "data").glob("*/collection.json"):
            path.unlink()
    else:
        shutil.copy(shared("data/vo/epntap/maser_epncore.csv"), place / "data")
    (directory / "hven.toml").write_text('name = "x"\nauthority = "x.org"\n')
    settings = load_settings(directory, {})
    assert [str(fault) for fault in check_descriptor(place / f"{name}.yaml", settings)] == []
    with Site(settings) as site:
        return place, ingest_collection(site, name)


def rows(place: Path, query: str) -> list[dict[str, str]]:
    return list(csv.DictReader(run_hven("--site", place.parents[1], "query", "-f", "csv", query).stdout.splitlines()))


def items(place: Path) -> Iterator[dict[str, object]]:
    """Read the items that a descriptor speaks of."""
    (kind,) = {"psup_cubes": ["omega_data_cubes"], "psup_maps": ["omega_mineral_maps"]}.get(place.name, ["ias_*"])
    for path in sorted((place / "data").glob(f"{kind}/*/*.json")):
        yield json.loads(path.read_text())


def test_omega_cubes(tmp_path: Path) -> None:
    place, report = publish_collection("psup_cubes", tmp_path)
    assert "beyond the horizon (90 degrees): 10 rows" in report.format_text()  # cubes of the night
    there = {row["granule_uid"]: row for row in rows(place, "SELECT * FROM psup_cubes.epn_core")}
    assert len(there) == 20
    for item in items(place):
        about = item["properties"]
        for gid in ("sav", "nc"):
            row = there[f"{item['id']}_{gid}"]
            asset = item["assets"][gid]
            assert (row["obs_id"], row["granule_gid"], row["access_url"]) == (item["id"], gid, asset["href"])
            size = float(asset["size"].split()[0]) * 1024
            assert abs(float(row["access_estsize"]) - size) <= 0.5
            assert int(row["orbit_number"]) == int(about["orbit_number"])
            assert [float(row[name]) % 360 for name in ("c1min", "c1max")] == pytest.approx(
                [item["bbox"][0] % 360, item["bbox"][2] % 360]
            )
            assert float(row["solar_longitude_min"]) == about["solar_longitude"] == float(row["solar_longitude_max"])
            variables = about["cube:variables"]
            assert [float(row["emergence_min"]), float(row["emergence_max"])] == variables["emergence_g"]["extent"]
            far = [(each * units.m).to_value(units.km) for each in variables["spacecraft_distance"]["extent"]]
            assert [float(row["target_distance_min"]), float(row["target_distance_max"])] == pytest.approx(far)
            bands = [
                (constants.c / (each * units.um)).to_value(units.Hz)
                for each in item["assets"]["sav"]["wavelength_range"]
            ]
            assert [float(row["spectral_range_min"]), float(row["spectral_range_max"])] == pytest.approx(
                sorted(bands), rel=1e-12
            )
    shown = run_hven("--site", tmp_path, "query", "--epn", "target_name=Mars c1=90/91 c2=-10/0", "-f", "csv").stdout
    assert sorted({row["obs_id"] for row in csv.DictReader(shown.splitlines())}) == ["0006_1", "0006_2"]


def test_omega_maps(tmp_path: Path) -> None:
    place, report = publish_collection("psup_maps", tmp_path)
    assert re.search(r"must have access_format and access_estsize; [^\n]*: 10 rows\n", report.format_text())
    there = {row["granule_uid"]: row for row in rows(place, "SELECT * FROM psup_maps.epn_core")}
    assert len(there) == 10
    for item in items(place):
        row = there[item["id"]]
        assert row["title"] == item["properties"]["description"]
        assert row["access_url"] == item["assets"]["fits"]["href"]
        assert row["bib_reference"] == item["properties"]["sci:publications"][0]["doi"]


def test_craters(tmp_path: Path) -> None:
    place, report = publish_collection("psup_craters", tmp_path)
    assert "warning" not in report.format_text()
    there = {
        row["granule_uid"]: row
        for row in rows(
            place, "SELECT granule_uid, c1min, c1max, c2min, diameter, crater_type FROM psup_craters.epn_core"
        )
    }
    assert len(there) == 2561
    for item in items(place):
        row, about = there[f"crater_{item['id']}"], item["properties"]
        longitude = float(row["c1min"])
        assert longitude == float(row["c1max"])
        assert abs(longitude - about["lon_earth"] % 360) <= 1e-9
        assert (float(row["c2min"]), row["crater_type"]) == (about["lat"], about["type"].strip())
        assert row["diameter"] == "" if about["diam"] is None else float(row["diameter"]) == about["diam"]


def test_hydrated_sites(tmp_path: Path) -> None:
    """All 17,445 in scripts/proof; one of five, from all over Mars, in scripts/test."""
    place, report = publish_collection("psup_hydrated", tmp_path, every=1 if EXAMPLES_FACTOR > 1 else 5)
    assert "polygons have holes" in report.format_text()
    all_rows = "SELECT granule_uid, c1min, c1max, c2min, c2max, shape_area FROM psup_hydrated.epn_core"
    there = {row["granule_uid"]: row for row in rows(place, all_rows)}
    assert len(there) == (17_445 if EXAMPLES_FACTOR > 1 else 3_489)
    names, wanted, given, corners = [], [], [], []
    for item in items(place):
        row, (west, south, east, north) = there[f"site_{item['id']}"], item["bbox"]
        assert float(row["shape_area"]) == item["properties"]["Shape_Area"]
        names.append(row["granule_uid"])
        wanted.append([west % 360, east % 360, south, north])
        given.append([float(row[name]) for name in ("c1min", "c1max", "c2min", "c2max")])
        corners.append(np.array(item["geometry"]["coordinates"][0], float)[:, :2])
    np.testing.assert_allclose(given, wanted, rtol=0, atol=1e-9)
    away = angular_separation(*np.deg2rad([76.0, 20.0]), *np.deg2rad(np.concatenate(corners).T))
    farthest = np.maximum.reduceat(away, np.cumsum([0, *map(len, corners[:-1])]))
    inside = [name for name, one in zip(names, farthest, strict=True) if one < np.deg2rad(4)]
    found = {
        row["granule_uid"]
        for row in rows(
            place, "SELECT granule_uid FROM psup_hydrated.epn_core WHERE 1 = CONTAINS(s_region, CIRCLE(76, 20, 4))"
        )
    }
    assert found >= set(inside) != set()
    assert len(found) - len(inside) <= 2  # corners on the circle itself


def test_rows_of_maser(tmp_path: Path) -> None:
    place, report = publish_collection("maser", tmp_path)
    with (place / "data" / "maser_epncore.csv").open(newline="") as file:
        given = {row["granule_uid"]: row for row in csv.DictReader(file) if row["granule_uid"] != "__skip__"}
    whole = {name for name, row in given.items() if row["target_class"]}
    assert (len(given), len(whole)) == (12, 8)
    told = report.format_text()
    assert "8 rows (142 left out by where, 4 rejected of 154 read)" in told
    assert "target_class is required, but has no value: 4 rows" in told
    # lists of features, as of targets, are what they do there, and no fault
    assert "#" in given[min(whole)]["feature_name"]
    assert "text in EPN-TAP must not contain" not in told
    assert "list items must be joined by # without spaces" not in told
    there = {row["granule_uid"]: row for row in rows(place, "SELECT * FROM maser.epn_core")}
    assert set(there) == whole
    for name, row in there.items():
        for column, value in given[name].items():
            if column in row and value:
                same = (
                    float(row[column]) == float(value)
                    if column.startswith(("time", "spectral"))
                    else row[column] == value
                )
                assert same, (name, column)
