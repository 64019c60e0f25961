"""SIA 2.0 over ivoa.obscore: each parameter against the same condition in numpy and astropy; outlines are found by their index through the view."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from urllib.parse import quote

import numpy as np
import pytest
from asgi_client import Client
from astropy.coordinates import angular_separation

from hven import query
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site

MANY = 4000
DESCRIPTOR = """\
collection: {name}
title: Images
tables:
  main:
    source: rows.csv
    primary: id
    position: [ra, dec]
    columns:
      id: {{type: string, ucd: "meta.id;meta.main"}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
      start: {{type: float64, unit: d}}
      stop: {{type: float64, unit: d}}
      wave: {{type: float64, unit: m}}
      kind: string
      calib: int32
      s_region: {{type: circle, indexed: true}}
    map: {{s_region: "{region}"}}
    obscore:
      set: {{access_format: application/fits, facility_name: {name} telescope, instrument_name: I, pol_states: /I/Q/, access_url: "https://x.example/a"}}
      map: {{dataproduct_type: kind, calib_level: calib, t_min: start, t_max: stop, em_min: wave, em_max: 2 * wave, s_region: s_region, s_ra: ra, s_dec: dec, target_name: id}}
"""


def rows(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    begin = rng.uniform(50000, 51000, MANY).round(3)
    return {
        "id": np.array([f"o{seed}_{number}" for number in range(MANY)]),
        "ra": rng.uniform(0, 360, MANY).round(5),
        "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, MANY))).round(5),
        "start": begin,
        "stop": begin + rng.choice([0, 1, 30], MANY),
        "wave": rng.choice([4e-7, 5e-7, 1e-6, 2e-6], MANY),
        "kind": rng.choice(["image", "cube", "spectrum"], MANY),
        "calib": rng.integers(0, 5, MANY),
    }


ROWS = {"one": rows(1), "two": rows(2)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("sia2")
    for name, region in (("one", "CIRCLE(ra, dec, 0.5)"), ("two", "NULL")):
        folder = directory / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, region=region))
        given = ROWS[name]
        with (folder / "rows.csv").open("w") as file:
            csv.writer(file).writerows([given, *zip(*(column.tolist() for column in given.values()), strict=True)])
    (directory / "hven.toml").touch()
    with Site(settings.load_settings(directory)) as made:
        for name in ("one", "two"):
            ingest_collection(made, name)
        yield made


def found(site: Site, *pairs: str) -> set[str]:
    line = "&".join(["RESPONSEFORMAT=csv", "MAXREC=100000", *(quote(pair, safe="=") for pair in pairs)])
    answer = Client(create_and_start_application(site)).ask("GET", "/sia2/ivoa.obscore", line.encode())
    assert answer.status == 200, answer.text
    return {row["obs_id"] for row in csv.DictReader(io.StringIO(answer.text))}


def find_expected_ids(condition: object, *, of: tuple[str, ...] = ("one", "two")) -> set[str]:
    every = set()
    for name in of:
        given = ROWS[name]
        kept = np.isin(given["kind"], ["image", "cube"]) & condition(name, given)  # type: ignore[operator]
        every |= set(given["id"][kept].tolist())
    assert every, "nothing would be tested"
    return every


def touches_circle(ra: float, dec: float, radius: float) -> object:
    """Touch the circle: with an outline of half a degree, or with the centre where there is none."""

    def condition(name: str, given: dict[str, np.ndarray]) -> np.ndarray:
        away = np.degrees(angular_separation(*np.radians([ra, dec]), np.radians(given["ra"]), np.radians(given["dec"])))
        return away <= radius + (0.5 if name == "one" else 0.0)

    return condition


@pytest.mark.parametrize(("ra", "dec", "radius"), [(10, 10, 8), (0.1, -5, 9), (120, 89, 7), (250, -60, 4)])
def test_positions(site: Site, ra: float, dec: float, radius: float) -> None:
    assert found(site, f"POS=CIRCLE {ra} {dec} {radius}") == find_expected_ids(touches_circle(ra, dec, radius))


def test_ranges_may_be_open_and_values_of_a_parameter_are_alternatives(site: Site) -> None:
    band = find_expected_ids(lambda name, given: (given["dec"] + (0.5 if name == "one" else 0.0)) >= 70)
    assert found(site, "POS=RANGE -Inf +Inf 70 Inf") == band
    assert found(site, "POS=RANGE -Inf +Inf 70 Inf", "POS=circle 10 10 8") == band | find_expected_ids(
        touches_circle(10, 10, 8)
    )


@pytest.mark.parametrize(
    ("pairs", "condition"),
    [
        (["TIME=50100 50101"], lambda given: (given["start"] <= 50101) & (given["stop"] >= 50100)),
        (["TIME=-Inf 50010"], lambda given: given["start"] <= 50010),
        (["TIME=50500"], lambda given: (given["start"] <= 50500) & (given["stop"] >= 50500)),
        (["BAND=9e-7 9.5e-7"], lambda given: (given["wave"] <= 9.5e-7) & (2 * given["wave"] >= 9e-7)),
        (["BAND=3e-6", "BAND=4e-7"], lambda given: np.isin(given["wave"], [2e-6, 4e-7])),
        (["CALIB=0", "CALIB=3"], lambda given: np.isin(given["calib"], [0, 3])),
        (["DPTYPE=cube", "TIME=50100 50200"], lambda given: (given["kind"] == "cube") & (given["start"] <= 50200) & (given["stop"] >= 50100)),
        (["TARGET=o1_7", "TARGET=o1_8", "TARGET=o2_1"], lambda given: np.isin(given["id"], ["o1_7", "o1_8", "o2_1"])),
        (["ID=ivo://example.org/one?o1_3", "ID=ivo://example.org/one?o1_4", "id=ivo://example.org/one?o1_5"], lambda given: np.isin(given["id"], ["o1_3", "o1_4", "o1_5"])),
        (["POL=Q", "POL=V", "FORMAT=application/fits"], lambda given: given["calib"] >= 0),
    ],
)  # fmt: skip
def test_parameters(site: Site, pairs: list[str], condition: object) -> None:
    assert found(site, *pairs) == find_expected_ids(lambda _, given: condition(given))  # type: ignore[operator]


def test_what_is_not_known_matches_nothing(site: Site) -> None:
    assert found(site, "FOV=0 Inf") == found(site, "EXPTIME=-Inf Inf") == found(site, "POL=V") == set()
    assert found(site, "COLLECTION=two", "FACILITY=two telescope") == find_expected_ids(
        lambda _, given: given["calib"] >= 0, of=("two",)
    )


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("POS=BOX 1 2 3 4", "UsageFault: POS='BOX 1 2 3 4': 'BOX' is not a shape"),
        ("POS=CIRCLE 1 2", "UsageFault: POS='CIRCLE 1 2': "),
        ("POS=CIRCLE 1 91 2", "the latitude 91.0 is not between -90 and 90 degrees"),
        ("POS=POLYGON 1 2 3 4", "UsageFault: POS='POLYGON 1 2 3 4': "),
        ("POS=CIRCLE NaN 2 1", "UsageFault: POS='CIRCLE NaN 2 1': "),
        ("TIME=2 1", "UsageFault: TIME='2 1' is an empty interval, because its end is before its start"),
        ("TIME=NaN", "UsageFault: TIME='NaN' has an end that is not a number"),
        (
            "BAND=red",
            "UsageFault: BAND='red' is not an interval; write one or two numbers in m, such as 1 2 or -Inf 2",
        ),
        ("BAND=1 2 3", "BAND='1 2 3' is not an interval"),
        ("DPTYPE=spectrum", "UsageFault: DPTYPE='spectrum' is not valid; use one of image, cube"),
        ("CALIB=7", "UsageFault: CALIB=7 is out of range"),
        ("POL=Z", "UsageFault: POL='Z' is not valid"),
    ],
)
def test_faults_begin_with_their_word(site: Site, pair: str, words: str) -> None:
    answer = Client(create_and_start_application(site)).ask("GET", "/sia2/ivoa.obscore", quote(pair, safe="=").encode())
    assert answer.status == 400
    assert words.replace("'", "&apos;") in answer.text.replace("'", "&apos;")
    assert Client(create_and_start_application(site)).get("/sia2/one.main").status == 404


def test_outlines_are_found_by_their_index_through_the_view(site: Site) -> None:
    for text in (
        "SELECT obs_id FROM ivoa.obscore WHERE 1 = INTERSECTS(s_region, CIRCLE(10, 10, 1))",
        "SELECT obs_id FROM ivoa.obscore WHERE 1 = CONTAINS(POINT(10, 10), s_region)",
    ):
        told = query.explain_query(text, site=site)
        assert "of 4,000 rows are read" in told
        assert "about 4,000 of 4,000 rows" not in told.split("one.main")[-1].splitlines()[0], told
