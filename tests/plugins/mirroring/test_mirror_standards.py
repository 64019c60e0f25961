"""``hven mirror`` of collections of EPN-TAP and ObsCore: the copy is one of them, too, with flags, views and examples; nothing hidden is told, nothing odd taken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hven.model.settings import load_settings
from hven.plugins.mirroring import mirror_descriptors as mirroring
from hven.site import Site
from plugin_needs import require_plugins
from process_runner import Server, run_hven, serve_site, wait_until

IMAGES = """
collection: images
title: Images
let: {camera: C193, password: not-for-others}
examples:
  - {title: Bright ones, query: "SELECT * FROM images.main WHERE mag < 10", description: A beginning}
  - {title: All observations, query: "SELECT * FROM ivoa.obscore WHERE calib_level = 2"}
  - {title: Of the secret ones, query: "SELECT * FROM images.secret"}
  - {title: Together, query: "SELECT * FROM images.main AS a JOIN mars.epn_core AS b ON a.ident = b.obs_id"}
tables:
  main:
    source: {kind: csv, files: images.csv}
    primary: ident
    indexes: [[wave, mag], [mag, privy]]
    flags: {column: quality, by: {band: "CASE WHEN wave < 600 THEN 'blue' ELSE 'red' END", inside: privy}}
    rules:
      faint: {if: mag < 12, flag: 0, message: too faint}
      odd: {if: privy <> 'x', flag: 3, severity: info}
      never: {if: mag > -5, severity: warning}
    columns:
      ident: {type: string, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      wave: {type: float64, unit: nm, ucd: em.wl}
      mag: {type: float32, unit: mag}
      "File": {type: string}
      privy: {type: string, hidden: true}
    obscore:
      set: {dataproduct_type: image, calib_level: 2, facility_name: OHP}
      text: {access_url: "https://data.example.org/{\\"File\\"}", obs_title: "Image {ident} {camera}"}
      map:
        em_min: wave
        em_max: wave * 2
        o_ucd: "CASE WHEN privy = 'x' THEN 'phot' END"
        s_region: "'Circle ICRS ' || CAST(ra AS VARCHAR) || ' ' || CAST(dec AS VARCHAR) || ' 0.1'"
      optional: [obs_title, release]
      columns: {mag: {type: float32, unit: mag, description: Brightness}}
      radio: {set: {instr_tel_number: 8}}
  bright: {title: Bright, view: "SELECT ident, ra, dec, mag, mag + 1 AS fainter FROM images.main WHERE mag < 10", columns: {fainter: {description: By one}}}
  few: {view: "SELECT TOP 5 ident FROM images.bright"}
  shows_hidden: {view: "SELECT ident, privy FROM images.main"}
  elsewhere: {view: "SELECT a.ident FROM images.main AS a JOIN mars.epn_core AS b ON a.ident = b.obs_id"}
  of_secret: {access: private, view: "SELECT id FROM images.secret"}
  secret:
    access: private
    source: {kind: csv, files: secret.csv}
    primary: id
    columns: {id: string}
    obscore: {set: {calib_level: 1, dataproduct_type: image, target_name: betrayed}, map: {obs_id: id}}
"""
MARS = """
collection: mars
title: Cubes of Mars
created: 2026-01-15
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    optional: [access, local_time]
    source: {kind: csv, files: cubes.csv}
    columns: {orbit: {type: int32, description: Number of the orbit}}
    set: {target_name: Mars, target_class: planet, dataproduct_type: sc, processing_level: 3, measurement_type: phot.radiance,
          instrument_host_name: mex, instrument_name: omega, access_format: application/fits, local_time_min: 12}
    text: {granule_uid: "{cube}", access_url: "https://data.example.org/{cube}.fits"}
    map: {obs_id: cube, time_min: jd(parse_time(start)), time_max: time_min_jd, c1min: lon, c1max: lon + 1, c2min: lat, c2max: lat + 1, access_estsize: bytes / 1024}
    let: {time_min_jd: jd(parse_time(start)) + 0.1}
    obscore: {}
"""
SAME = (
    "SELECT * FROM ivoa.obscore ORDER BY obs_publisher_did",
    "SELECT * FROM ivoa.obscore_radio ORDER BY obs_publisher_did",
    "SELECT * FROM mars.epn_core ORDER BY granule_uid",
    "SELECT * FROM images.few ORDER BY ident",
    "SELECT table_name, utype, description FROM tap_schema.tables WHERE table_name NOT IN ('images.shows_hidden', 'images.elsewhere') ORDER BY table_name",
    "SELECT * FROM tap_schema.columns WHERE table_name NOT IN ('images.shows_hidden', 'images.elsewhere') AND column_name NOT IN ('hven_url', 'hven_format') ORDER BY table_name, column_index",
)


def images(count: int, brighter: float = 0.0) -> str:
    lines = [
        f"im{n:03},{n * 1.5},{n * 0.3 - 20},{500 + n},{8 + n * 0.05 - brighter},f{n}.fits,{'x' if n % 7 == 0 else 'y'}"
        for n in range(count)
    ]
    return "ident,ra,dec,wave,mag,File,privy\n" + "\n".join(lines) + "\n"


def rows(site: Path, query: str) -> list[Any]:
    return list(json.loads(run_hven("query", query, "--format", "json", "--site", site).stdout)["data"])


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("standards") / "site"
    run_hven("init", site)
    for name, text in (("images", IMAGES), ("mars", MARS)):
        place = site / "collections" / name
        place.mkdir(parents=True)
        (place / f"{name}.yaml").write_text(text)
    (site / "collections" / "images" / "images.csv").write_text(images(200))
    (site / "collections" / "images" / "secret.csv").write_text("id\nbetrayed\n")
    cubes = "\n".join(f"c{n:02},2026-01-{n % 28 + 1:02}T00:00:00,{n},{n - 20},{n * 2048},{n}" for n in range(40))
    (site / "collections" / "mars" / "cubes.csv").write_text(f"cube,start,lon,lat,bytes,orbit\n{cubes}\n")
    run_hven("ingest", "mars", "--site", site)
    run_hven("ingest", "images", "--site", site)
    with serve_site(site) as server:
        yield server


@pytest.fixture(scope="module")
def copy(origin: Server, create_mirror: Callable[[Server], tuple[Path, str]]) -> Path:
    site, said = create_mirror(origin)
    assert "left out" not in said
    return site


def test_it_is_what_the_origin_is(origin: Server, copy: Path) -> None:
    for query in SAME:
        if "ivoa.obscore ORDER" in query:
            continue
        found = rows(copy, query)
        assert found, query
        assert found == origin.rows(query), query  # as everybody sees it: hven query sees what is private, too
    # one column reads a hidden one: there it has values, here it has none
    columns = [
        name
        for (name,) in rows(
            copy,
            "SELECT column_name FROM tap_schema.columns WHERE table_name = 'ivoa.obscore' AND column_name NOT IN ('hven_url', 'hven_format') ORDER BY column_index",
        )
        if name != "o_ucd"
    ]
    query = f"SELECT {', '.join(columns)} FROM ivoa.obscore ORDER BY obs_publisher_did"
    observed = origin.rows(query)
    assert len(observed) == 240
    assert rows(copy, query) == observed
    assert "betrayed" not in str(rows(copy, "SELECT * FROM ivoa.obscore"))
    assert rows(copy, "SELECT TOP 1 em_min, em_max FROM ivoa.obscore WHERE obs_id = 'im000'")[0] == pytest.approx(
        [5e-7, 1e-6], rel=1e-12
    )
    run_hven("check", "--site", copy)


def test_what_computes_is_told_where_everybody_could_compute_it(origin: Server, copy: Path) -> None:
    text = origin.get("/collections/images/descriptor")[2].decode()
    for word in (
        "privy",
        "not-for-others",
        "password",
        "secret",
        "betrayed",
        "images.csv",
        "elsewhere",
        "shows_hidden",
        "mag > -5",
        "Together",
    ):
        assert word not in text, word
        assert word not in (copy / "collections" / "images" / "images.yaml").read_text(), word
    said = yaml.safe_load(text)
    assert [one["title"] for one in said["examples"]] == ["Bright ones", "All observations"]
    main = said["tables"]["main"]
    assert main["flags"] == {
        "column": "quality",
        "given": True,
        "by": {"band": "CASE WHEN wave < 600 THEN 'blue' ELSE 'red' END"},
    }
    assert main["rules"] == {"faint": {"flag": 0, "message": "too faint"}, "odd": {"flag": 3}}
    assert main["indexes"] == [["wave", "mag"]]
    assert said["tables"].keys() == {"main", "bright", "few"}
    with Site(load_settings(copy, {})) as ours:
        table = ours.get_published_state().tables_by_name["images.main"].table
        assert table.indexes == (("wave", "mag"),)
        assert [one.name for one in ours.get_published_state().resources["images"].examples] == [
            "Bright ones",
            "All observations",
        ]


def test_flags_come_with_the_rows_and_are_counted(origin: Server, copy: Path) -> None:
    here, there = (
        json.loads(run_hven("history", "images", "--rules", "--json", "--site", site).stdout)[0]["tables"][
            "images.main"
        ]
        for site in (copy, origin.site)
    )
    assert there["rules"] == here["rules"] == {"faint": 120, "odd": 29}
    assert [(group["of"], group["rows"], group["rules"]) for group in here["groups"]] == [
        (["blue"], 100, {"faint": 20, "odd": 15}),
        (["red"], 100, {"faint": 100, "odd": 14}),
    ]


def test_it_is_followed(origin: Server, copy: Path) -> None:
    require_plugins("protocols", "changes")
    (origin.site / "collections" / "images" / "images.csv").write_text(images(200).replace("im003,4.5", "im003,4.6"))
    state = origin.get("/changes/images.main")[1]["hven-snapshot"]
    run_hven("sync", "images", "--site", origin.site)
    wait_until(lambda: origin.get("/changes/images.main")[1]["hven-snapshot"] != state)
    report = json.loads(run_hven("mirror", origin.url, "images", "--site", copy, "--json").stdout)[0]["report"]
    assert report["changes"]["images.main"]["changed"] == 1
    assert rows(copy, "SELECT s_ra FROM ivoa.obscore WHERE obs_id = 'im003'") == [[4.6]]


def write_descriptor(**beside: Any) -> str:
    main = {
        "primary": "id",
        "columns": {"id": {"type": "string"}, "n": {"type": "float64"}, "q": {"type": "int32"}},
        **beside.pop("main", {}),
    }
    return yaml.safe_dump(
        {"collection": "stars", "title": "Stars", "tables": {"main": main, **beside.pop("tables", {})}, **beside}
    )


WHOLE = {"calib_level": "2", "obs_collection": "'x'", "obs_id": "id", "obs_publisher_did": "'ivo://x/y?' || id"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("(SELECT MAX(s) FROM ours.secret)", "o_ucd"),
        ("other.column", "o_ucd"),
        ("collection.name", "o_ucd"),
        ("site.url", "o_ucd"),
        ("header('X')", "o_ucd"),
        ("my_function(id)", "o_ucd"),
        ("id; DROP TABLE x", "o_ucd"),
        ("COUNT(*)", "o_ucd"),
        ("id", "of_another_version"),
    ],
)
def test_observations_are_computed_of_the_copied_columns_alone(text: str, name: str) -> None:
    left: list[str] = []
    given = write_descriptor(
        main={
            "obscore": {
                "map": {**WHOLE, "t_min": "n", name: text},
                "set": {"o_ucd": "x"},
                "text": {"access_url": "{site.url}"},
            }
        }
    )
    made = yaml.safe_load(
        mirroring.write_mirror_descriptor(
            given, "https://other.example", "stars", sync_interval=None, omission_notes=left
        )
    )
    assert made["tables"]["main"]["obscore"] == {
        "converted": True,
        "map": {**WHOLE, "t_min": "n", **({} if name == "of_another_version" else {name: "NULL"})},
    }
    assert len(left) == 1
    assert name in left[0]


def test_what_is_told_wrong_is_left_out_and_said() -> None:
    left: list[str] = []
    given = write_descriptor(
        main={
            "obscore": {"map": {**WHOLE, "obs_id": "secret.id"}},
            "flags": {"column": "q", "by": {"good": "id", "bad": "(SELECT 1 FROM ours.x)"}},
            "rules": {
                "a": {"flag": 1, "if": "header('x') = 1"},
                "b": {"flag": 1},
                "c": {"flag": 99},
                "d": {"flag": True},
                "e": {"check": "words"},
                "f": 3,
            },
            "indexes": [["id", "n"], "n"],
        },
        tables={
            "good": {"view": "SELECT id FROM stars.main WHERE n > 1"},
            "of_ours": {"view": "SELECT * FROM ours.secret"},
            "unqualified": {"view": "SELECT * FROM secret"},
            "hidden_in_it": {"view": "SELECT id FROM stars.main WHERE id IN (SELECT id FROM ours.secret)"},
            "named": {"view": "WITH secret AS (SELECT id FROM stars.main) SELECT id FROM secret"},
        },
        examples=[{"title": "T", "query": "SELECT 1", "run": "x"}, {"title": "no query"}, 3],
    )
    made = yaml.safe_load(
        mirroring.write_mirror_descriptor(
            given, "https://other.example", "stars", sync_interval=None, omission_notes=left
        )
    )
    main = made["tables"]["main"]
    assert "obscore" not in main
    assert main["flags"] == {"column": "q", "given": True, "by": {"good": "id"}}
    assert main["rules"] == {"a": {"flag": 1}}
    assert main["indexes"] == [["id", "n"]]
    assert made["tables"].keys() == {"main", "good", "named"}
    assert made["examples"] == [{"title": "T", "query": "SELECT 1"}]
    for word in ("obs_id", "bad", "of_ours", "unqualified", "hidden_in_it"):
        assert sum(word in text for text in left) == 1, (word, left)
