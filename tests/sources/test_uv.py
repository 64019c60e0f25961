"""Points of the UV plane as example 24 makes them: against vectors turned without its formulas, and against the UCOORD and VCOORD of real OIFITS."""

from __future__ import annotations

import ast
import importlib.util
import math
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table

import file_servers
from example_sites import EXAMPLES, ingest_all, open_example
from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from process_runner import serve_site
from shared import shared

TEXT = (EXAMPLES / "24-obsportal/collections/obsportal/obsportal.yaml").read_text()
MODES = "instrument_mode,em_min,em_max,em_res_power\nGRAVITY X,1.98e-6,2.40e-6,500\nMATISSE X,2.8e-6,4.2e-6,34\n"
LATITUDE = -24.62743941
# file, and how far its points may be from the geometry, at their own time, and from its header, at the header's (in metres)
REAL = {"GRAVITY": ("GRAVI.2016*.fits", 0.05, 0.08), "MATISSE": ("MATISSE*.fits", 0.4, 0.15)}


def rows(site: Site, text: str) -> list[dict[str, Any]]:
    with query.run_query(text, OWNER_PRINCIPAL, site=site) as result:
        return [row for batch in result.iterate_batches() for row in batch.to_pylist()]


def rotate_vector(vector: np.ndarray, axis: np.ndarray, angle: float) -> np.ndarray:
    """Turn a vector about an axis (Rodrigues)."""
    across = np.cross(axis, vector)
    return vector * math.cos(angle) + across * math.sin(angle) + axis * (axis @ vector) * (1 - math.cos(angle))


def project_by_vectors(baseline: np.ndarray, hour: float, dec: float) -> tuple[float, float]:
    """Project (east, north, up) onto the sky at a star that was turned there from the meridian."""
    phi = math.radians(LATITUDE)
    pole = np.array([0.0, math.cos(phi), math.sin(phi)])
    star = rotate_vector(pole, np.array([-1.0, 0, 0]), -math.radians(90 - dec))  # on the meridian
    star = rotate_vector(star, pole, -math.radians(hour))  # the sky turns to the west
    east = np.cross(pole, star)
    east /= np.linalg.norm(east)
    return float(baseline @ east), float(baseline @ np.cross(star, east))


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> tuple[dict[str, Any], Callable[[str], list[dict[str, Any]]]]:
    """Publish the headers of two real files by the example's descriptor, at the time of their points and at that of the header."""
    place = tmp_path_factory.mktemp("uv")
    lines, facts, files = (
        ["dp_id,instrument,object,ra,dec,mjd_obs,exposure,dp_cat,prog_id,ob_id,ins_mode,last_mod_date,lst,stations"],
        {},
        {},
    )
    for name, (pattern, *_) in REAL.items():
        (path,) = shared("data/interferometry/oifits").glob(pattern)
        with fits.open(path) as hdus:
            primary, points, target = hdus[0].header, hdus["OI_VIS2"].data, hdus["OI_TARGET"].data
            stations = {
                index: word.strip()
                for index, word in zip(
                    hdus["OI_ARRAY"].data["STA_INDEX"], hdus["OI_ARRAY"].data["STA_NAME"], strict=True
                )
            }
            begin = primary["MJD-OBS"]
            facts[name] = (
                float(target["RAEP0"][0]), float(target["DECEP0"][0]), primary,
                {tuple(stations[index] for index in row["STA_INDEX"]): (float(row["UCOORD"]), float(row["VCOORD"])) for row in points},
            )  # fmt: skip
            late = 2 * (float(np.mean(points["MJD"])) - begin) * 86_400
        for ident, seconds in ((name, late), (f"{name}0", 0.0)):
            ra, dec = facts[name][:2]
            lines.append(
                f"{ident},{name},x,{ra!r},{dec!r},{begin!r},{seconds!r},SCIENCE,p,1,X,2026-01-01T00:00:00,0.5,none"
            )
            files[f"data/{ident}.fits"] = path.read_bytes()
    text = re.sub(r"      kind: query.*\n      adql: .*\n", "      kind: csv\n      files: raw.csv\n", TEXT, count=1)
    text = re.sub(r"file: data/headers/\{dp_id\}\.html.*", "file: data/{dp_id}.fits", text)
    stations = (EXAMPLES / "24-obsportal/collections/obsportal/stations.csv").read_text()
    with open_site_with_uningested_files(
        place, text, {"raw.csv": "\n".join(lines), "modes.csv": MODES, "stations.csv": stations}
    ) as site:
        (place / "collections/obsportal/data").mkdir()
        for name, body in files.items():
            (place / "collections/obsportal" / name).write_bytes(body)
        ingest_collection(site, "obsportal")
        yield facts, lambda text: rows(site, text)


@pytest.mark.parametrize("name", REAL)
def test_uv_coordinates_equal_those_of_vector_geometry(real, name):
    (ra, dec, primary, _), asked = real[0][name], real[1]
    found = asked(f"SELECT * FROM obsportal.uv WHERE exp_id IN ('{name}', '{name}0')")
    places = {
        primary[f"ESO ISS CONF STATION{n}"]: np.array([primary[f"ESO ISS CONF T{n}{axis}"] for axis in "XYZ"])
        for n in range(1, 5)
    }
    assert len(found) == 12
    for row in found:
        begin, end = (places[word] for word in row["baseline"].split("-"))
        baseline = (end - begin) * [-1, -1, 1]  # the file counts to the west and to the south
        hour = primary["LST"] / 240 + 360.98564736629 * (row["mjd"] - primary["MJD-OBS"]) - ra
        u, v = project_by_vectors(baseline, hour, dec)
        assert (row["u_array"], row["v_array"]) == pytest.approx((u, v), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", REAL)
def test_uv_points_equal_those_of_the_files(real, name):
    (*_, points), asked = real[0][name], real[1]
    _, near, nearer = REAL[name]
    for row in asked(f"SELECT * FROM obsportal.uv WHERE exp_id = '{name}'"):  # at the time of the file's points
        begin, end = row["baseline"].split("-")
        u, v = points.get((begin, end)) or [-one for one in points[end, begin]]
        assert (row["u_array"], row["v_array"]) == pytest.approx((u, v), abs=near), row["baseline"]
        assert row["origin"] == "header"
        assert (row["u"], row["v"]) == pytest.approx((u, v), abs=1.3)  # of the time of the header: the sky went on
    for row in asked(f"SELECT * FROM obsportal.uv WHERE exp_id = '{name}0'"):
        assert (row["u"], row["v"]) == pytest.approx((row["u_array"], row["v_array"]), abs=nearer), row["baseline"]


def test_baselines_of_the_example_equal_those_of_the_real_portal() -> None:
    module = load_example_module()
    with warnings.catch_warnings():  # of its VOTable
        warnings.simplefilter("ignore")
        exposures = parse_single_table(
            shared("data/interferometry/obsportal/obsportal-output-10.votable.xml")
        ).to_table()
    found = []
    for row in exposures:
        for pair, facts in ast.literal_eval(row["exp_projected_baselines"]).items():
            for end in ("start", "end"):
                hour = module.sidereal(row[f"exp_mjd_{end}"]) - row["target_ra"]
                length, angle = module.project_baseline(pair.split("-"), (1, 2), hour, row["target_dec"])
                off = (angle - float(facts["angle"][end]) + 180) % 360 - 180
                found.append((abs(length - float(facts["length"][end])), abs(off)))
    assert len(found) == 372
    assert max(length for length, _ in found) < 0.15  # metres, of 40 to 130
    assert max(angle for _, angle in found) < 0.25  # degrees: the header says the mean place, to a tenth


def load_example_module() -> Any:
    """Load what makes the example's data: its formula is another one than that of the descriptor."""
    spec = importlib.util.spec_from_file_location("make_data", EXAMPLES / "24-obsportal/make_data.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def as_it_should_be(site: Site) -> None:
    """See that each fault of the headers was found, and that exposures without one have points all the same."""
    states = rows(
        site,
        "SELECT exp_header AS state, COUNT(*) AS n, MAX(quality_flags) AS f FROM obsportal.main GROUP BY exp_header",
    )
    assert {row["state"]: (row["n"], row["f"]) for row in states} == {
        "here": (57, 0),
        "broken": (2, 1),
        "missing": (1, 1),
    }
    found = rows(
        site,
        "SELECT quality_flags AS f, COUNT(*) AS n, COUNT(DISTINCT exp_id) AS e FROM obsportal.uv GROUP BY quality_flags",
    )
    assert {row["f"]: (row["n"], row["e"]) for row in found} == {0: (318, 53), 1: (6, 1), 2: (36, 6)}
    (off,) = rows(
        site,
        "SELECT MAX(ABS(u - u_array)) AS u, MAX(ABS(v - v_array)) AS v FROM obsportal.uv WHERE quality_flags = 0",
    )
    assert max(off.values()) < 0.01  # what three decimals of the header leave
    module = load_example_module()
    bare = rows(
        site,
        "SELECT uv.*, target_ra, target_dec, instrument_em_min AS low, instrument_em_max AS high FROM obsportal.uv AS uv JOIN obsportal.main USING (exp_id) WHERE exp_header NOT IN ('here', 'old')",
    )
    assert len(bare) == 18
    for row in bare:
        hour = module.sidereal(row["mjd"]) - row["target_ra"]
        length, angle = module.project_baseline(row["baseline"].split("-"), (1, 2), hour, row["target_dec"])
        u, v = length * math.sin(math.radians(angle)), length * math.cos(math.radians(angle))
        assert (row["u"], row["v"], row["origin"]) == (pytest.approx(u, abs=1e-3), pytest.approx(v, abs=1e-3), "array")
        assert row["u_wave"] == pytest.approx(row["u"] * 2 / (row["low"] + row["high"]))


@pytest.mark.slow
def test_the_example_reads_a_tap_service_and_pages_of_headers(tmp_path: Path) -> None:
    """The archive is another Hven, asked by TAP, and a server of pages; a second run asks for no page again."""
    with open_example("24-obsportal", tmp_path) as directory:
        pages = {
            f"/hdr?DpId={path.stem}": path.read_bytes()
            for path in (directory / "collections/obsportal/data/headers").iterdir()
        }
        archive = settings.create_site_directory(tmp_path / "archive")
        shutil.copytree(directory / "collections/eso", archive / "collections/eso")
        described = archive / "collections/eso/eso.yaml"
        described.write_text(re.sub(r"access: private.*", "", described.read_text()))
        ingest_all(archive)
        shutil.rmtree(directory / "collections/eso")
        (directory / "hven.toml").write_text("allow_private = true\n")
        with serve_site(archive) as there, file_servers.serve_http(file_servers.ServedFiles(pages)) as hdr:
            text = re.sub(
                r"kind: query .*\n      adql: (.*)\n",
                rf'kind: tap\n      url: "{there.url}/tap"\n      adql: "\1"\n',
                TEXT,
                count=1,
            )
            text = re.sub(r"file: data/headers/.*", f'url: "{hdr.address}/hdr?DpId={{dp_id}}"', text)
            (directory / "collections/obsportal/obsportal.yaml").write_text(text)
            with Site(settings.load_settings(directory)) as site:
                ingest_collection(site, "obsportal")
                as_it_should_be(site)
                assert len({line.split()[1] for line in hdr.asked}) == 60
                hdr.asked.clear()
                ingest_collection(site, "obsportal")
                as_it_should_be(site)
                assert hdr.asked == []


@pytest.mark.slow
def test_the_example_reports_the_faults_of_its_headers(tmp_path: Path) -> None:
    with open_example("24-obsportal", tmp_path) as directory:
        ingest_all(directory)
        with Site(settings.load_settings(directory)) as site:
            as_it_should_be(site)
            wave = rows(
                site,
                "SELECT TOP 1 u, u_wave FROM obsportal.uv JOIN obsportal.main USING (exp_id) WHERE instrument_name = 'GRAVITY'",
            )[0]
            told = rows(site, "SELECT exp_header, exp_projected_baselines AS text FROM obsportal.search")
            assert len(told) == 60
            texts = [
                ast.literal_eval(row["text"]) for row in told if row["text"]
            ]  # as ASPRO's style sheet takes it apart
            assert len(texts) == 54
            assert all(
                len(one) == 6 and float(facts["length"]["start"]) > 0 and {*facts["angle"]} == {"start", "end"}
                for one in texts
                for facts in one.values()
            )
            assert wave["u_wave"] == pytest.approx(wave["u"] / 2.19e-6)
