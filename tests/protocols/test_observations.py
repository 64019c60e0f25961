"""Rows as observations: one line for each, with its files; which columns are shown first; by time. Each is compared with what was written."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from plugin_needs import list_statistics_pages, require_plugins

CUBES = """\
collection: cubes
title: Cubes
description: Made up
doi: 10.1234/cubes
created: 2018-06-13
creators: [{name: "Brahe, T."}]
tables:
  main:
    primary: [granule]
    source: {kind: csv, files: a.csv}
    columns:
      granule: {type: string, ucd: meta.id, rank: 1}
      obs_id: {type: string, ucd: meta.id;obs, rank: 1}
      begins: {type: timestamp, ucd: time.start;obs, rank: 1, section: time}
      instrument_name: {type: string, ucd: meta.id;instr, rank: 2}
      picture: {type: string, ucd: meta.preview, rank: 9}
      access_url: {type: string, ucd: meta.ref.url;meta.file, rank: 3}
      access_estsize: {type: int32, unit: kbyte, ucd: phys.size;meta.file, rank: 3}
      quality: {type: int32, ucd: meta.code.qual, rank: 4}
      depth: {type: float64, ucd: phys.size, rank: 20}
      quantity: {type: string, rank: 20}
"""
SAID = """\
collection: said
title: Said
tables:
  keyed:
    primary: [id]
    observation: [orbit, camera]
    source: {kind: csv, files: a.csv}
    columns: &columns
      id: {type: int32}
      orbit: {type: int32}
      camera: {type: string}
      seen: {type: timestamp, ucd: time.start}
      access_url: {type: string, ucd: meta.ref.url;meta.file}
  placed:
    primary: [id]
    observation: [camera, orbit]
    position: [ra, dec]
    source: {kind: csv, files: a.csv}
    columns:
      id: {type: int32}
      orbit: {type: int32}
      camera: {type: string}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec}
    map: {ra: id * 2.0, dec: id * 1.0}
  bare:
    primary: [id]
    observation: orbit
    source: {kind: csv, files: a.csv}
    columns: {id: {type: int32}, orbit: {type: int32}, camera: {type: string}, seen: {type: timestamp, ucd: time.start}}
"""
WIDE = "collection: wide\ntitle: Wide\ntables:\n"
TABLE = "  {name}:\n    primary: [c0]\n    max_rejects: 1\n    source: {{kind: csv, files: {name}.csv}}\n    columns:\n"
NUMBERS = {"many": 5, "one": 1, "none": 0}


def build_observations() -> list[dict[str, Any]]:
    """Give 60 observations of one to three files, an id that comes back at another time, and five rows without an id."""
    rows = []
    for at in range(60):
        name, day = f"o{at if at < 59 else 0:03d}", 1 + (at * 17) % 28
        kinds = ("sav", "nc", "fits.gz")[: 1 + at % 3]
        begins = f"2004-{1 + at // 30:02d}-{day:02d}T{at % 24:02d}:00:00"
        rows += [(f"{at:03d}-{kind}", name, begins, kind, at % 4) for kind in kinds]
    rows += [(f"x{at}", "", f"2005-01-0{1 + at}T00:00:00", "nc", 1) for at in range(5)]
    return [
        {
            "granule": granule, "obs_id": name, "begins": begins, "instrument_name": f"I{quality % 2}", "picture": f"https://pictures.example/{name}.png",
            "access_url": f"https://files.example/{granule.replace('-', '.')}", "access_estsize": 52_000, "quality": quality, "depth": 1.5, "quantity": f"from {kind}",
        }
        for granule, name, begins, kind, quality in rows
    ]  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("lines")
    (directory / "hven.toml").write_text('title = "Uraniborg"\n')
    rows = build_observations()
    wide = WIDE
    files = {"cubes/a.csv": [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]}
    for name, number in NUMBERS.items():
        columns = [f"c{at}" for at in range(300 if name == "many" else 3)]
        wide += TABLE.format(name=name) + "".join(f"      {one}: {{type: int32}}\n" for one in columns)
        files[f"wide/{name}.csv"] = [
            ",".join(columns),
            *(",".join(str(row + at) for at in range(len(columns))) for row in range(number)),
        ]
    regions = "id,obs_id,access_url\n" + "".join(
        f"{at},o{at // 3},https://files.example/{at // 3}.fits\n" for at in range(12)
    )
    wide += "  regions:\n    primary: [id]\n    source: {kind: csv, files: regions.csv}\n    columns:\n      id: {type: int32}\n"
    wide += "      obs_id: {type: string}\n      access_url: {type: string, ucd: meta.ref.url;meta.file}\n"
    files["wide/regions.csv"] = [regions]
    files["said/a.csv"] = ["id,orbit,camera,seen,access_url", *(",".join(map(str, row)) for row in build_orbit_files())]
    texts = (("cubes/cubes.yaml", CUBES), ("wide/wide.yaml", wide), ("said/said.yaml", SAID))
    for path, text in (*files.items(), *((path, [text]) for path, text in texts)):
        place = directory / "collections" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("\n".join(text))
    with Site(load_settings(directory, {})) as site:
        for name in ("cubes", "wide", "said"):
            ingest_collection(site, name)
        site.store.releases.add_collection_releases("R1", ["cubes"])
        site.refresh_published_state()
        yield Client(create_and_start_application(site))


def build_orbit_files() -> list[tuple[object, ...]]:
    """Give 40 files of 20 orbits by two cameras; two of no orbit."""
    rows: list[tuple[object, ...]] = [
        (
            at,
            at // 4 if at < 38 else "",
            "ab"[at % 2],
            f"2004-01-{1 + at // 4:02d}T00:00:0{at % 4}",
            f"https://f.example/{at}.nc",
        )
        for at in range(40)
    ]
    return rows


def fetch_page(client: Client, path: str, **asked: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.get(f"/collections/{path}", **asked).body)
    return found


def groups(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    found: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[(row["obs_id"] or row["granule"], row["begins"], row["instrument_name"])].append(row)
    return sorted(found.values(), key=lambda some: (some[0]["begins"], min(one["granule"] for one in some)))


@pytest.mark.parametrize("asked", [{}, {"quality": "2..3"}, {"_q": "fits"}, {"begins": "2004-02.."}])
def test_a_line_is_one_observation_with_its_files(client: Client, asked: dict[str, str]) -> None:
    chosen = {
        "quality": lambda row: row["quality"] >= 2,
        "_q": lambda row: "fits" in row["granule"],
        "begins": lambda row: row["begins"] >= "2004-02",
    }
    rows = [row for row in build_observations() if all(chosen[name](row) for name in asked)]
    wanted = groups(rows)
    found = fetch_page(client, "cubes/main/rows", _size="200", **asked)
    assert [json.loads(key)[0] for key in found["keys"]] == [min(one["granule"] for one in some) for some in wanted]
    assert (found["total"], found["of_rows"]) == (len(wanted), len(rows))
    counted = fetch_page(client, "cubes/main/count", **asked)
    assert (counted["total"], counted["of"], counted["of_rows"]) == (
        len(wanted),
        len(groups(build_observations())),
        len(rows),
    )
    for files, some in zip(found["files"], wanted, strict=True):
        if some[0]["obs_id"]:
            assert {json.loads(one["key"])[0] for one in files} == {one["granule"] for one in some}
            assert {one["href"] for one in files} == {one["access_url"] for one in some}
            assert {one["text"] for one in files} == {one["granule"].split("-")[1].removesuffix(".gz") for one in some}
            assert {one["bytes"] for one in files} == {52_000_000}
            assert {one["picture"] for one in files} == {some[0]["picture"]}
    at = len(wanted) // 2
    assert fetch_page(client, "cubes/main/place", _row=found["keys"][at], **asked)["place"] == at


@pytest.mark.parametrize("asked", [{}, {"_q": "fits"}])
def test_texts_that_differ_among_the_files_of_a_line_are_counted(client: Client, asked: dict[str, str]) -> None:
    wanted = groups([row for row in build_observations() if not asked or "fits" in row["granule"]])
    found = fetch_page(client, "cubes/main/rows", _size="200", _cols="instrument_name,quantity", **asked)
    at = [one["name"] for one in found["columns"]].index("quantity")
    assert max(map(len, wanted)) == (1 if asked else 3)
    for row, some in zip(found["rows"], wanted, strict=True):
        values = sorted({one["quantity"] for one in some})
        if len(values) == 1:
            assert row[at] == values[0]
        else:
            assert (row[at]["text"], row[at]["title"]) == (f"{len(values)} different", ", ".join(values))
    assert {row[1 - at] for row in found["rows"]} <= {"I0", "I1"}
    page = client.ask("GET", "/collections/cubes/main?_cols=quantity&lang=fr", headers={"accept": "text/html"}).text
    assert "3 différentes" in page
    every = fetch_page(client, "cubes/main/rows", _size="500", _cols="quantity", _files="each")
    assert {row[0] for row in every["rows"]} == {"from sav", "from nc", "from fits.gz"}


def test_what_was_found_in_one_file_stays_rows(client: Client) -> None:
    found = fetch_page(client, "wide/regions/rows")
    assert found["total"] == 12
    assert "files" not in found


def test_a_descriptor_says_what_names_an_observation(client: Client) -> None:
    found = fetch_page(client, "said/keyed/rows", _size="100")
    groups_: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for number, orbit, camera, *_ in build_orbit_files():
        groups_[(orbit, camera, number if orbit == "" else "")].append(int(str(number)))
    assert sorted(json.loads(key)[0] for key in found["keys"]) == sorted(map(min, groups_.values()))
    assert (found["total"], found["of_rows"]) == (len(groups_), 40)
    files = {
        json.loads(key)[0]: [json.loads(one["key"])[0] for one in files]
        for key, files in zip(found["keys"], found["files"], strict=True)
    }
    assert {key: rows for key, rows in files.items() if rows} == {
        min(rows): rows for (orbit, *_), rows in groups_.items() if orbit != ""
    }
    bare = fetch_page(client, "said/bare/rows", _size="100")
    assert (bare["total"], bare["of_rows"]) == (10 + 2, 40)
    assert [len(one) for one in bare["files"]][:9] == [4] * 9, "rows without addresses are files, too"
    assert bare["files"][0][0] == {"key": "[0]", "href": "", "text": "1", "bytes": None}


def test_what_the_descriptor_says_holds_at_once(tmp_path: Path) -> None:
    place = tmp_path / "collections" / "said"
    place.mkdir(parents=True)
    (tmp_path / "hven.toml").write_text('title = "T"\n', encoding="utf-8")
    (place / "a.csv").write_text(
        "\n".join(["id,orbit,camera,seen,access_url", *(",".join(map(str, row)) for row in build_orbit_files())])
    )
    file = place / "said.yaml"
    file.write_text(SAID, encoding="utf-8")
    with Site(load_settings(tmp_path, {})) as site:
        ingest_collection(site, "said")
        client = Client(create_and_start_application(site))
        assert fetch_page(client, "said/keyed/rows")["total"] == 22
        for said, total in (
            ("[]", 40),
            ("[camera]", 2),
            ("[nowhere]", 2),
        ):  # what is wrong leaves the last good one in force
            file.write_text(SAID.replace("[orbit, camera]\n", f"{said}\n    form: [camera]\n"), encoding="utf-8")
            site.refresh_published_state()
            assert fetch_page(client, "said/keyed/rows")["total"] == total
        page = client.ask("GET", "/collections/said/keyed", headers={"accept": "text/html"}).text
        form = page[page.index('id="refine"') : page.index('id="found"')]
        assert form.index('name="camera"') < form.index('name="orbit"')


@pytest.mark.parametrize(
    ("said", "fault"),
    [("observation: [obs_ids]", "no column 'obs_ids'"), ("observation: [obs_id]\n    primary: [granule, obs_id]", "a primary key of exactly one column")],
)  # fmt: skip
def test_an_observation_needs_its_columns_and_a_key(said: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "cubes.yaml").write_text(CUBES.replace("primary: [granule]", said), encoding="utf-8")
    (tmp_path / "a.csv").write_text("granule\n", encoding="utf-8")
    (tmp_path / "hven.toml").write_text('title = "T"\n', encoding="utf-8")
    assert fault in " ".join(
        one.message for one in check_descriptor(tmp_path / "cubes.yaml", load_settings(tmp_path, {}))
    )


def test_cards_pages_and_tree_show_the_same_number_of_observations(client: Client) -> None:
    number = len(groups(build_observations()))
    page = client.ask("GET", "/collections/cubes", headers={"accept": "text/html"}).text
    assert f"<b>{number}</b> observations, {len(build_observations())} files" in page
    head = page[: page.index("</ul>")]  # of the collection, before its tables
    assert f"<b>{number}</b> observations" in head
    assert f"<b>{len(build_observations())}</b> rows" not in page, "its rows are files"
    home = client.ask("GET", "/", headers={"accept": "text/html"}).text
    assert f"<b>{number}</b> observations" in home
    assert f"<b>{len(build_observations())}</b> rows" not in home
    statistics_pages = list_statistics_pages("cubes")
    for path in statistics_pages:
        assert f"<b>{number}</b> observations" in client.ask("GET", path, headers={"accept": "text/html"}).text
    for path in (*statistics_pages, "/collections/cubes/downloads"):
        each = client.ask("GET", path, headers={"accept": "text/html"}).text
        assert re.search(rf"<b>{len(build_observations())}</b>\s+files", each), path
        assert not re.search(rf"<b>{len(build_observations())}</b>\s+rows", each), path
    release = client.ask("GET", "/collections/cubes/releases/R1", headers={"accept": "text/html"}).text
    assert re.search(rf"<b>{len(build_observations())}</b>\s+files", release)
    twin = json.loads(client.get("/collections/cubes/releases/R1.json").body)
    assert [(one["rows"], one["noun"]) for one in twin["tables"]] == [(len(build_observations()), "files")]
    tree = {one["name"]: one["rows"] for one in json.loads(client.get("/tree").body)["branches"]}
    assert tree["I0"] + tree["I1"] == number


def test_records_say_that_they_count_files(client: Client) -> None:
    require_plugins("protocols", "oai")
    for path in ("", "/releases/R1"):  # as OAI-PMH has it, too
        sizes = json.loads(client.get(f"/collections/cubes{path}/cite/datacite.json").body)["sizes"]
        assert sizes[0] == f"main: {len(build_observations())} files", path


def test_news_say_that_they_count_files(client: Client) -> None:
    require_plugins("protocols", "atom")
    for path in ("changes.atom", "changes.rss"):
        assert f"main: {len(build_observations())} files<" in client.get(f"/collections/cubes/{path}").text, path


def test_where_nothing_is_found_lines_are_proposed(client: Client) -> None:
    found = fetch_page(client, "cubes/main/count", quality="2", depth="9..10")
    (one,) = found["without"]
    lines_ = fetch_page(client, "cubes/main/rows", quality="2")["total"]
    assert ([each["name"] for each in one["left"]], one["rows"], one["observations"]) == (["depth"], lines_, True)
    page = client.ask("GET", "/collections/cubes/main?quality=2&depth=9..10&lang=fr", headers={"accept": "text/html"})
    assert f"sans depth 9..10 : {lines_} observations" in page.text


def test_each_file_is_a_line_on_request(client: Client) -> None:
    found = fetch_page(client, "cubes/main/rows", _size="500", _files="each")
    assert found["total"] == len(build_observations())
    assert "files" not in found
    page = client.ask("GET", "/collections/cubes/main", headers={"accept": "text/html"}).text
    assert "?_files=each" in page
    assert page.count("chip-file") > 50
    page = client.ask("GET", "/collections/cubes/main?_files=each&quality=1", headers={"accept": "text/html"}).text
    assert "chip-file" not in page
    assert 'href="?quality=1"' in page
    faults = fetch_page(client, "cubes/main/rows", _files="none")["faults"]
    assert [one["field"] for one in faults] == ["_files"]


def test_rows_are_sorted_by_time_by_default(client: Client) -> None:
    keys = [json.loads(key)[0] for key in fetch_page(client, "cubes/main/rows", _files="each", _size="500")["keys"]]
    assert keys == [
        row["granule"] for row in sorted(build_observations(), key=lambda row: (row["begins"], row["granule"]))
    ]
    keys = [
        json.loads(key)[0]
        for key in fetch_page(client, "cubes/main/rows", _files="each", _size="500", _sort="-granule")["keys"]
    ]
    assert keys == sorted((row["granule"] for row in build_observations()), reverse=True)


def test_pictures_names_times_and_searched_columns_come_first(client: Client) -> None:
    assert fetch_page(client, "cubes/main/rows")["drawn"] == [
        "picture",
        "obs_id",
        "begins",
        "instrument_name",
        "quality",
    ]
    found = fetch_page(client, "cubes/main/rows", depth="1..2")
    assert found["drawn"][:3] == ["picture", "obs_id", "depth"]  # not a principal one: what is searched is seen
    assert found["columns"][-1]["name"] == "depth"
    assert fetch_page(client, "cubes/main/rows", _cols="quality,granule")["drawn"] == ["quality", "granule"]
    page = client.ask("GET", "/collections/cubes/main", headers={"accept": "text/html"}).text
    assert [page.index(f">{name}</a>") for name in ("picture", "obs_id", "begins", "quality")] == sorted(
        page.index(f">{name}</a>") for name in ("picture", "obs_id", "begins", "quality")
    )


@pytest.mark.parametrize(("table", "columns"), [("many", 10), ("one", 3), ("none", 3)])
def test_tables_with_one_row_no_rows_or_300_columns_are_shown(client: Client, table: str, columns: int) -> None:
    found = fetch_page(client, f"wide/{table}/rows")
    assert (found["total"], len(found["drawn"])) == (NUMBERS[table], columns)
    assert client.ask("GET", f"/collections/wide/{table}", headers={"accept": "text/html"}).status == 200
    if NUMBERS[table]:
        assert fetch_page(client, f"wide/{table}/row", _row=found["keys"][0])["file"] is None


def test_a_panel_describes_a_row_and_links_to_its_files(client: Client) -> None:
    found = fetch_page(client, "cubes/main/row", _row='["002-nc"]')
    assert found["file"]["href"] == "https://files.example/002.nc"
    assert {json.loads(one["key"])[0] for one in found["files"]} == {"002-sav", "002-nc", "002-fits.gz"}
    assert found["cite"]["text"].startswith("Brahe, T. (2018). Cubes. https://doi.org/10.1234/cubes. http")
    assert "doi = {10.1234/cubes}" in found["cite"]["bibtex"]
    assert [one["title"] for one in found["sections"]] == ["Time", "More columns"]
    assert sorted(at for one in found["sections"] for at in one["columns"]) == list(range(len(found["columns"])))
    french = json.loads(client.get("/collections/cubes/main/row", _row='["002-nc"]', lang="fr").body)
    assert french["sections"][0]["title"] == "Temps"
    assert fetch_page(client, "cubes/main/row", _row='["gone"]')["row"] is None
    assert fetch_page(client, "cubes/main/row", _row='["x1"]')["files"] == []
