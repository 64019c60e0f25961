"""``/hats/``: catalogues that are whole, the same whoever makes them, of one state each, and of nothing that a reader may not see."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cdshealpix
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from asgi_client import Answer, Client
from astropy import units as u
from astropy.coordinates import Latitude, Longitude, SkyCoord
from astropy.io import fits

from clocks import MovableClock
from hven import query
from hven.app._server import create_and_start_application
from hven.engines import Snapshot
from hven.ingest.api.runs import ingest_collection
from hven.plugins.hats import hats_layout, tilings
from hven.plugins.hats.settings import HatsSettings
from hven.site import Site
from hven.site.auth import DEFAULT_POLICIES, OWNER_PRINCIPAL
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import build_table_from_arrow, open_site_with_uningested_files, open_tiny_site, publish_rows
from plugin_needs import build_settings
from postgres_cluster import run_server

ROWS = 6_000
PARTITION = 500  # rows: small, so that there are many
RIGHTS = 1_200  # rows of tables that are not seen by all
CELL = hats_layout.CELL_COLUMN


def stars(rows: int = ROWS, seed: int = 1) -> pa.Table:
    """Rows of all kinds, some without a position, many at one place, and a column with the name that cells have."""
    some = np.random.default_rng(seed)
    lon = np.where(some.random(rows) < 0.6, some.normal(83.6, 0.5, rows), some.uniform(0, 360, rows)) % 360
    lat = np.where(lon < 100, some.normal(22, 0.5, rows), np.degrees(np.arcsin(some.uniform(-1, 1, rows))))
    lon[:40], lat[:40] = 10.0, -20.0
    nowhere = np.arange(rows) % 97 == 5
    return pa.table(
        {
            "id": np.arange(rows),
            "ra": pa.array(lon, mask=nowhere),
            "dec": pa.array(lat, mask=nowhere),
            "n": pa.array(some.integers(0, 50, rows), pa.int32()),
            "name": pa.array([None if at % 11 == 0 else f"étoile {at % 7}" for at in range(rows)]),
            "seen": pa.array(some.integers(0, 2**50, rows), pa.timestamp("us")),
            "good": pa.array(some.random(rows) < 0.5),
            "flux": pa.array([[float(at), None][: at % 3] for at in range(rows)], pa.list_(pa.float64())),
            CELL: pa.array(np.full(rows, 7), pa.int16()),
        }
    )


@pytest.fixture(autouse=True, scope="module")
def small_partitions() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tilings, "MIN_PARTITION_ROWS", PARTITION)
        patch.setattr(tilings, "ROW_GROUP_ROWS", 100)
        yield


def open_star_site(directory: Path, rows: pa.Table, *, key: bool = True, **more: Any) -> Site:
    table = replace(build_table_from_arrow("stars.main", rows), primary=("id",) if key else ())
    return open_tiny_site(directory, {"stars.main": (table, rows)}, **more)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_star_site(tmp_path_factory.mktemp("site"), stars()) as found:
        yield found


class Catalogue:
    """A catalogue as a client without any library reads it."""

    def __init__(self, client: Client, address: str = "stars", headers: dict[str, str] | None = None) -> None:
        self.client, self.root, self.headers = client, f"/hats/{address}", headers or {}
        self.said = self.properties("collection.properties")
        self.state = self.said["hats_primary_table_url"]

    def ask(self, path: str, method: str = "GET", query: str = "", **headers: str) -> Answer:
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.ask(method, f"{self.root}/{path}", query.encode(), headers=sent)

    def properties(self, path: str) -> dict[str, str]:
        answer = self.ask(path)
        assert answer.status == 200, answer.text
        return dict(line.split("=", 1) for line in answer.text.splitlines() if not line.startswith("#"))

    def pixels(self, part: str = "") -> list[tuple[int, int]]:
        table = pd.read_csv(io.BytesIO(self.ask(f"{self.state}{part}/partition_info.csv").body))
        return list(zip(table["Norder"], table["Npix"], strict=True))

    def path(self, pixel: tuple[int, int], part: str = "") -> str:
        order, number = pixel
        return f"{self.state}{part}/dataset/Norder={order}/Dir={number // 10000 * 10000}/Npix={number}.parquet"

    def rows(self, pixel: tuple[int, int], query: str = "", part: str = "") -> pa.Table:
        answer = self.ask(self.path(pixel, part), query=query)
        assert answer.status == 200, answer.text
        return pq.read_table(io.BytesIO(answer.body))

    def all(self) -> pa.Table:
        return pa.concat_tables([self.rows(one) for one in self.pixels()])


@pytest.fixture(scope="module")
def catalogue(site: Site) -> Catalogue:
    return Catalogue(Client(create_and_start_application(site)))


def cells(rows: pa.Table, order: int = 29) -> np.ndarray[Any, Any]:
    """Cells by cdshealpix's own Python, which asks astropy for angles."""
    return np.asarray(cdshealpix.lonlat_to_healpix(Longitude(rows["ra"].to_numpy(), u.deg), Latitude(rows["dec"].to_numpy(), u.deg), order)).astype(np.int64)  # fmt: skip


def sort_by_id(rows: pa.Table) -> pa.Table:
    return rows.sort_by("id").combine_chunks()


def test_every_row_with_a_position_is_in_one_partition(catalogue: Catalogue) -> None:
    there = stars().filter(pc.is_valid(pc.field("ra")))
    found = catalogue.all()
    assert sort_by_id(found.drop_columns([CELL, tilings.RENAMED_CELL_COLUMN])).equals(
        sort_by_id(there.drop_columns([CELL]))
    )
    assert set(found[tilings.RENAMED_CELL_COLUMN].to_pylist()) == {
        7
    }  # the table's own column, which has the name of the cells
    assert len(catalogue.pixels()) > 8
    for order, pixel in catalogue.pixels():
        rows = catalogue.rows((order, pixel))
        assert 0 < len(rows) <= PARTITION
        assert np.array_equal(rows[CELL].to_numpy(), cells(rows))
        assert np.array_equal(rows[CELL].to_numpy(), np.sort(rows[CELL].to_numpy()))
        assert set(cells(rows, order)) == {pixel}


def test_catalogue_properties_describe_the_table(catalogue: Catalogue) -> None:
    said = catalogue.properties(f"{catalogue.state}/hats.properties")
    there = stars().filter(pc.is_valid(pc.field("ra")))
    assert said["hats_nrows"] == str(len(there))
    assert said["hven_rows_without_position"] == str(ROWS - len(there))
    assert (said["hats_col_ra"], said["hats_col_dec"], said["hats_col_healpix"]) == ("ra", "dec", CELL)
    assert said == catalogue.properties(f"{catalogue.state}/properties")
    schema = pq.read_schema(io.BytesIO(catalogue.ask(f"{catalogue.state}/dataset/_common_metadata").body))
    assert schema.remove_metadata().equals(catalogue.rows(catalogue.pixels()[0]).schema.remove_metadata())
    assert b'name="seen"' in schema.metadata[b"IVOA.VOTable-Parquet.content"]
    with fits.open(io.BytesIO(catalogue.ask(f"{catalogue.state}/skymap.fits").body)) as file:
        assert np.array_equal(file[1].data["VALUE"], np.bincount(cells(there, 6), minlength=12 * 4**6))
    with fits.open(io.BytesIO(catalogue.ask(f"{catalogue.state}/point_map.fits").body)) as file:
        order = int(np.log2(file[1].header["NSIDE"]))
        assert set(file[1].data["PIXEL"]) == set(cells(there, order))


def test_directories_are_listed_as_web_servers_do(catalogue: Catalogue) -> None:
    def links(path: str) -> set[str]:
        answer = catalogue.ask(unquote(path))
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        return set(re.findall(r'href="([^"]+)"', answer.text))

    assert links("") == {"collection.properties", f"{catalogue.state}/", f"{catalogue.state}.margin/", f"{catalogue.state}.index/"}  # fmt: skip
    files: set[str] = set()
    todo = [f"{catalogue.state}/"]
    while todo:
        below = {f"{folder}{link}" for folder in todo for link in links(folder)}
        todo = [one for one in below if one.endswith("/")]
        files |= {unquote(one) for one in below if not one.endswith("/")}
    assert {catalogue.path(one) for one in catalogue.pixels()} <= files
    assert len(files) == len(catalogue.pixels()) + 6
    assert all(catalogue.ask(one, "HEAD").status == 200 for one in sorted(files))


def test_row_groups_tell_their_cells_and_pages_have_an_index(catalogue: Catalogue) -> None:
    body = catalogue.ask(catalogue.path(max(catalogue.pixels(), key=lambda one: len(catalogue.rows(one))))).body
    meta = pq.read_metadata(io.BytesIO(body))
    assert meta.num_row_groups > 2
    spans = [meta.row_group(at).column(0).statistics for at in range(meta.num_row_groups)]
    assert all(one.max <= two.min for one, two in pairwise(spans))
    assert meta.row_group(0).column(0).has_column_index


def test_range_head_and_conditional_requests_work(catalogue: Catalogue) -> None:
    path = catalogue.path(catalogue.pixels()[0])
    whole = catalogue.ask(path)
    size, tag = len(whole.body), whole.headers["etag"]
    assert not tag.startswith("W/")
    assert whole.headers["content-type"] == "application/vnd.apache.parquet"
    head = catalogue.ask(path, "HEAD")
    assert (head.status, head.body, head.headers["content-length"], head.headers["etag"]) == (200, b"", str(size), tag)
    for said, begin, end in (("0-3", 0, 4), ("5-", 5, size), ("-8", size - 8, size), (f"{size - 2}-{size + 9}", size - 2, size)):  # fmt: skip
        part = catalogue.ask(path, range=f"bytes={said}", accept_encoding="gzip, br, zstd")
        assert (part.status, part.body) == (206, whole.body[begin:end])
        assert part.headers["content-range"] == f"bytes {begin}-{end - 1}/{size}"
        assert "content-encoding" not in part.headers
    assert catalogue.ask(path, accept_encoding="gzip").body == whole.body
    assert catalogue.ask(path, range=f"bytes={size}-").status == 416
    assert catalogue.ask(path, if_none_match=tag).status == 304
    assert catalogue.ask(path, range="bytes=0-3", if_range=tag).status == 206
    assert catalogue.ask(path, range="bytes=0-3", if_range='"another"').body == whole.body
    small = catalogue.ask(f"{catalogue.state}/partition_info.csv", range="bytes=0-5")
    assert (small.status, small.body) == (206, b"Norder")


@pytest.mark.parametrize("key", [True, False], ids=["with a key", "without a key"])
def test_regenerated_files_have_the_same_bytes(tmp_path: Path, key: bool) -> None:
    with open_star_site(tmp_path, stars(), key=key) as site:
        client = Client(create_and_start_application(site))
        read = Catalogue(client)
        wanted = [(read.path(one), "") for one in read.pixels()[:4]] + [(read.path(read.pixels()[0]), f"columns=id,ra,dec&filters={CELL}>=5")]  # fmt: skip
        if key:
            wanted.append((f"{read.state}.index/dataset/index.parquet", ""))
        first = [read.ask(one[0], query=one[1]).body for one in wanted]
        shutil.rmtree(site.settings.var_directory / "tiles")
        again = [Catalogue(Client(create_and_start_application(site))).ask(one[0], query=one[1]).body for one in wanted]
        assert first == again
        shutil.rmtree(site.settings.var_directory / "tiles")
        with ThreadPoolExecutor(4) as pool:  # whoever else asks for it meanwhile
            assert set(pool.map(lambda _: read.ask(wanted[0][0]).body, range(8))) == {first[0]}


def test_tables_in_postgres_give_the_same_bytes(tmp_path: Path, catalogue: Catalogue) -> None:
    table = replace(build_table_from_arrow("stars.main", stars()), primary=("id",))
    with (
        run_server() as url,
        open_tiny_site(
            tmp_path, {}, brought={"postgres": build_settings("postgres", url=f"postgresql://{url}")}
        ) as site,
    ):
        publish_rows(site, table, stars(), engine_name="postgres")
        site.refresh_published_state()
        read = Catalogue(Client(create_and_start_application(site)))
        assert read.pixels() == catalogue.pixels()
        for one in read.pixels():
            assert read.ask(read.path(one)).body == catalogue.ask(catalogue.path(one)).body


def test_what_clients_ask_for_in_the_address_is_all_they_get(catalogue: Catalogue) -> None:
    pixel = max(catalogue.pixels(), key=lambda one: len(catalogue.rows(one)))
    whole = catalogue.rows(pixel)
    at = sorted(whole[CELL].to_pylist())
    low, high = at[40], at[90]
    for text, kept in {
        f"{CELL}>={low},{CELL}<{high}": (pc.field(CELL) >= low) & (pc.field(CELL) < high),
        f"{CELL}>{low},{CELL}<={high}": (pc.field(CELL) > low) & (pc.field(CELL) <= high),
        f"{CELL}=={low}": pc.field(CELL) == low,
        f"{CELL}>={low},{CELL}<{at[50]};{CELL}>={at[80]},{CELL}<{high}": ((pc.field(CELL) >= low) & (pc.field(CELL) < at[50])) | ((pc.field(CELL) >= at[80]) & (pc.field(CELL) < high)),
        f"{CELL}<0": pc.field(CELL) < 0,
        # what is not of cells is passed over, and left to whoever asks
        f"n>=5,{CELL}<{high}": pc.field(CELL) < high,
        f"{CELL}<{low};n>=5": pc.scalar(True),
        f"{CELL}<1e3": pc.scalar(True),
        f"{CELL}>={2**63}": pc.field(CELL) < 0,
        "'; DROP TABLE": pc.scalar(True),
    }.items():  # fmt: skip
        assert catalogue.rows(pixel, f"filters={text.replace('=', '%3D').replace(';', '%3B').replace(chr(39), '%27').replace(' ', '+')}").equals(whole.filter(kept)), text  # fmt: skip
    few = catalogue.rows(pixel, f"columns=name,id,{CELL}")
    assert few.equals(whole.select([CELL, "id", "name"]))
    assert catalogue.rows(pixel, "columns=name,no_such").equals(whole)
    both = catalogue.rows(pixel, f"columns=flux,ra,dec&filters={CELL}%3E%3D{low}")
    assert both.equals(whole.select([CELL, "ra", "dec", "flux"]).filter(pc.field(CELL) >= low))


def test_a_margin_has_what_lies_around_each_pixel(catalogue: Catalogue) -> None:
    assert catalogue.said["default_margin"] == f"{catalogue.state}.margin"
    said = catalogue.properties(f"{catalogue.state}.margin/hats.properties")
    assert (said["dataproduct_type"], said["hats_margin_threshold"]) == ("margin", "10.0")
    everywhere = catalogue.all()
    places = SkyCoord(everywhere["ra"].to_numpy(), everywhere["dec"].to_numpy(), unit="deg")
    count = 0
    for order, pixel in catalogue.pixels():
        rows = catalogue.rows((order, pixel), part=".margin")
        count += len(rows)
        assert pixel not in cells(rows, order)
        # oracle: the outline, finely, and what is within 10 arcseconds of it
        lon, lat = cdshealpix.vertices([pixel], order, step=64)
        outline = SkyCoord(lon[0], lat[0])
        near = outline.match_to_catalog_sky(places)
        close = {int(everywhere["id"][int(at)].as_py()) for at, apart in zip(near[0], near[1], strict=True) if apart < 10 * u.arcsec}  # fmt: skip
        inside = set(catalogue.rows((order, pixel))["id"].to_pylist())
        assert close - inside <= set(rows["id"].to_pylist())
    assert said["hats_nrows"] == str(count) != "0"


def test_the_index_leads_from_keys_to_partitions(catalogue: Catalogue) -> None:
    assert catalogue.said["all_indexes"] == f"id {catalogue.state}.index"
    base = f"{catalogue.state}.index/dataset"
    rows = pq.read_table(io.BytesIO(catalogue.ask(f"{base}/index.parquet").body))
    assert rows["id"].to_pylist() == sorted(catalogue.all()["id"].to_pylist())
    for order, pixel in catalogue.pixels()[:5]:
        leads = rows.filter((pc.field("Norder") == order) & (pc.field("Npix") == pixel))
        assert set(leads["id"].to_pylist()) == set(catalogue.rows((order, pixel))["id"].to_pylist())
    meta = pq.read_metadata(io.BytesIO(catalogue.ask(f"{base}/_metadata").body))
    assert (meta.row_group(0).column(0).file_path, meta.num_rows) == ("index.parquet", len(rows))


def test_parquet_readers_read_the_files_unchanged(catalogue: Catalogue, tmp_path: Path) -> None:
    import duckdb

    for one in catalogue.pixels():
        place = tmp_path / catalogue.path(one)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(catalogue.ask(catalogue.path(one)).body)
    names = [str(tmp_path / catalogue.path(one)) for one in catalogue.pixels()]
    counted = duckdb.execute("SELECT count(*), sum(id), count(name), sum(len(flux)) FROM read_parquet($1)", [names]).fetchone()  # fmt: skip
    there = stars().filter(pc.is_valid(pc.field("ra"))).to_pandas()
    expected = (len(there), there["id"].sum(), there["name"].notna().sum(), there["flux"].map(len).sum())
    assert counted == expected
    frame = pd.concat([pd.read_parquet(one) for one in names])
    assert frame["seen"].min() == there["seen"].min()


def check_refusal(answer: Answer, status: int, *words: str) -> None:
    assert answer.status == status, answer.text
    for word in words:
        assert word in answer.text


def test_what_is_not_there_is_said_so(catalogue: Catalogue) -> None:
    state, (order, pixel) = catalogue.state, catalogue.pixels()[0]
    deep = f"{state}/dataset/Norder=9/Dir=0/Npix=5.parquet"
    check_refusal(catalogue.ask(deep), 404, "no partition", "partition_info.csv")
    for path in (
        f"{state}/dataset/Norder={order}/Dir=10000/Npix={pixel}.parquet",
        f"{state}/dataset/Norder={order}/Dir=0/Npix=0{pixel}.parquet",
        f"{state}/dataset/Norder={order}/Dir=0/Npix={pixel}.parquet/..",
        f"{state}/dataset/Norder={order}/Dir=0/Npix={pixel}",
        f"{state}/dataset/Norder=99/Dir=0/Npix=0.parquet",
        f"{state}/dataset/Norder=0/Dir=0/Npix=-1.parquet",
        f"{state}/x/dataset/Norder={order}/Dir=0/Npix={pixel}.parquet",
        f"{state}/../../etc/passwd",
        f"{state}/%2e%2e/hats.properties",
        f"{state}/dataset/../hats.properties",
        f"{state}/hats.properties/",
        f"{state}/dataset/_metadata",
        f"{state}.margin/skymap.fits",
        f"{state}.index/partition_info.csv",
        f"{state}.index/dataset/Norder={order}/Dir=0/Npix={pixel}.parquet",
        "hats.properties",
        "collection.properties/x",
        "latest/hats.properties",
    ):
        check_refusal(catalogue.ask(path), 404)
    check_refusal(catalogue.ask("20200101T000000-aa/hats.properties"), 410, "no longer kept", "again")
    check_refusal(catalogue.ask(f"{state}~0123456789abcdef/hats.properties"), 410, "to which you have no access")
    client = catalogue.client
    check_refusal(client.get("/hats/stars.man/collection.properties"), 404, "stars.main")
    assert client.get(f"/hats/STARS.Main/{state}/hats.properties").status == 200
    assert client.post("/hats/stars/collection.properties").status == 405


def test_tables_that_cannot_be_divided(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {"plain.main": pa.table({"id": [1, 2]}), "none.main": stars().slice(0, 0), "lost.main": stars().slice(5, 1)}) as site:  # fmt: skip
        client = Client(create_and_start_application(site))
        check_refusal(client.get("/hats/plain.main/collection.properties"), 404, "no positions", "TAP")
        check_refusal(client.get("/hats/plain/"), 404, "no positions")
        check_refusal(client.get("/hats/TAP_SCHEMA.tables/"), 404)
        for name, without in (("none", "0"), ("lost", "1")):
            read = Catalogue(client, name)
            said = read.properties(f"{read.state}/hats.properties")
            assert (said["hats_nrows"], said["hven_rows_without_position"], read.pixels()) == ("0", without, [])
            assert read.ask(f"{read.state}/point_map.fits").status == read.ask(f"{read.state}/dataset/").status == 200


TWICE = """
collection: stars
title: Stars
description: Some
tables:
  secret:
    access: private
    source: {kind: csv, files: "a.csv"}
    primary: id
    columns: {id: int32, ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}, dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}, n: int32}
  part:
    access: n < 3 OR reader in (whose)
    source: {kind: csv, files: "a.csv"}
    primary: id
    columns: {id: int32, ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}, dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}, n: int32, whose: string}
  places:
    source: {kind: csv, files: "a.csv"}
    primary: id
    columns: {id: int32, ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}, dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}, n: int32, inner: {type: string, hidden: true}}
"""


def lines(rows: int, shift: float = 0.0) -> str:
    return "id,ra,dec,n,whose,inner\n" + "".join(f"{at},{at % 360 + shift},{at % 170 - 85},{at % 6},{'anna' if at % 4 else 'bob'},x\n" for at in range(rows))  # fmt: skip


def test_a_catalogue_has_rows_of_one_published_state(tmp_path: Path) -> None:
    with open_site_with_uningested_files(tmp_path, TWICE, {"a.csv": lines(800)}, keep_snapshots=2) as site:
        ingest_collection(site, "stars")
        site.refresh_published_state()
        client = Client(create_and_start_application(site))
        first = Catalogue(client, "stars.places")
        some, before = first.path(first.pixels()[0]), first.all()
        one = first.ask(some).body
        for shift in (0.25, 0.5):
            (tmp_path / "collections" / "stars" / "a.csv").write_text(lines(900, shift))
            ingest_collection(site, "stars")
            site.refresh_published_state()
            if shift == 0.25:
                assert first.ask(some).body == one  # also where it must be made anew
                shutil.rmtree(site.settings.var_directory / "tiles")
                assert first.all().equals(before)
                second = Catalogue(client, "stars.places")
                assert second.state != first.state
                assert len(second.all()) == 900
        assert second.ask(second.path(second.pixels()[0])).status == 200
        check_refusal(first.ask(some), 410, "no longer kept")
        check_refusal(first.ask(f"{first.state}/hats.properties"), 410)


def test_users_get_only_rows_they_may_see(tmp_path: Path) -> None:
    with open_site_with_uningested_files(tmp_path, TWICE, {"a.csv": lines(RIGHTS)}) as site:
        ingest_collection(site, "stars")
        site.refresh_published_state()
        client = Client(create_and_start_application(site))
        users = {name: {"authorization": f"Bearer {site.store.users.add_account(name)}"} for name in ("anna", "bob")}
        check_refusal(client.get("/hats/stars.secret/collection.properties"), 404, "no table")
        owner = Client(create_and_start_application(site, identify_principal=lambda _: OWNER_PRINCIPAL))
        secret = Catalogue(owner, "stars.secret")
        assert len(secret.all()) == RIGHTS
        check_refusal(client.get(f"/hats/stars.secret/{secret.path(secret.pixels()[0])}"), 404, "no table")
        assert secret.ask(f"{secret.state}/hats.properties").headers["cache-control"].startswith("private")
        whole = Catalogue(owner, "stars.part")
        assert len(whole.all()) == RIGHTS
        assert whole.ask(whole.path(whole.pixels()[0])).headers["cache-control"].startswith("private")
        seen = {}
        for name, headers in {"": {}, **users}.items():
            read = Catalogue(client, "stars.part", headers)
            seen[name] = read
            rows = read.all()
            expected = [at for at in range(RIGHTS) if at % 6 < 3 or name == ("anna" if at % 4 else "bob")]
            assert sorted(rows["id"].to_pylist()) == expected
            assert read.properties(f"{read.state}/hats.properties")["hats_nrows"] == str(len(expected))
            with fits.open(io.BytesIO(read.ask(f"{read.state}/skymap.fits").body)) as file:
                assert file[1].data["VALUE"].sum() == len(expected)
            index = pq.read_table(io.BytesIO(read.ask(f"{read.state}.index/dataset/index.parquet").body))
            assert index["id"].to_pylist() == expected
            margin = pa.concat_tables([read.rows(one, part=".margin") for one in read.pixels()])
            assert set(margin["id"].to_pylist()) <= set(expected)
            assert read.properties(f"{read.state}.margin/hats.properties")["hats_nrows"] == str(len(margin))
        assert len({one.state for one in seen.values()}) == 3
        # who is logged in no more is told so, and does not get a mixture
        anna = seen["anna"]
        check_refusal(
            client.get(f"/hats/stars.part/{anna.path(anna.pixels()[0])}"), 410, "to which you have no access", "again"
        )
        # a snapshot alone is what this reader sees of it
        answer = client.get(f"/hats/stars.part/{whole.state}/hats.properties")
        assert answer.status == 307
        assert answer.headers["location"].endswith(f"/hats/stars.part/{seen[''].state}/hats.properties")
        assert "inner" not in Catalogue(client, "stars.places").all().column_names
        assert Catalogue(client, "stars").said["obs_collection"] == "stars.part"  # the first that has positions
        page = client.get("/collections/stars").text
        assert "lsdb.open_catalog(&#34;http://vo.example/hats/stars.places&#34;)" in page
        assert "http://vo.example/hats/stars.secret" not in page


EMBARGOED = """
collection: night
title: Nights
description: Made up
licence_url: https://licence.example
tables:
  main:
    primary: id
    access: release <= now
    source: {kind: csv, files: a.csv}
    columns:
      id: int64
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      release: timestamp
"""


def test_a_row_that_is_released_is_a_new_state(tmp_path: Path, clock: MovableClock) -> None:
    begun = clock.stop_time()
    dates = [datetime.fromtimestamp(begun + wait, UTC).replace(tzinfo=None).isoformat() for wait in (-9, -9, 2, 3)]
    text = "id,ra,dec,release\n" + "".join(f"{at},{10 + 40 * at},{at},{date}\n" for at, date in enumerate(dates))
    with open_site_with_uningested_files(tmp_path, EMBARGOED, {"a.csv": text}) as site:
        ingest_collection(site, "night")
        site.refresh_published_state()
        client = Client(create_and_start_application(site))
        states: list[tuple[str, str]] = []
        for wait, ids in ((0.0, [0, 1]), (2 - 1e-6, [0, 1]), (1e-6, [0, 1, 2]), (1.0, [0, 1, 2, 3])):
            clock.move(wait)
            now = Catalogue(client, "night.main")
            assert sorted(now.all()["id"].to_pylist()) == ids
            assert now.properties(f"{now.state}/hats.properties")["hats_nrows"] == str(len(ids))
            if states and now.state != states[-1][0]:  # who opened it before is told, and gets no mixture
                before, partition = states[-1]
                for path in (partition, f"{before}/partition_info.csv"):
                    check_refusal(client.get(f"/hats/night.main/{path}"), 410, "to which you have no access", "again")
            states.append((now.state, now.path(now.pixels()[0])))
        names = [state for state, _ in states]
        assert names[0] == names[1]
        assert len(set(names)) == 3
        assert len({name.partition("~")[0] for name in names}) == 1  # nothing was published


def test_openapi_tells_of_partitions(site: Site) -> None:
    told = json.loads(Client(create_and_start_application(site)).get("/openapi.json").body)["paths"]
    (path,) = [one for one in told if "Npix={pixel}" in one]
    given = {one["name"]: one["in"] for one in told[path]["get"]["parameters"]}
    assert given == {"table": "path", "state": "path", "order": "path", "dir": "path", "pixel": "path", "columns": "query", "filters": "query"}  # fmt: skip
    read = Catalogue(Client(create_and_start_application(site)))
    order, pixel = read.pixels()[0]
    made = path.format(table="stars.main", state=read.state, order=order, dir=0, pixel=pixel)
    assert read.client.get(made).status == 200
    assert "410" in told[path]["get"]["responses"]
    assert "/hats/{table}/collection.properties" in told


def test_a_user_with_access_to_half_the_rows_reads_half(site: Site) -> None:
    policies = build_odd_rows_hidden_policies("n")
    half = Catalogue(Client(create_and_start_application(site, policies=policies)))
    rows = half.all()
    with query.run_query("SELECT id FROM stars.main WHERE ra IS NOT NULL", site=site, policies=policies, maxrec=ROWS) as result:  # fmt: skip
        assert sorted(rows["id"].to_pylist()) == sorted(result.read_table()["id"].to_pylist())
    assert not any(value % 2 for value in rows["n"].to_pylist())
    third = Client(
        create_and_start_application(site, policies=(*DEFAULT_POLICIES, *build_odd_rows_hidden_policies("id")[1:]))
    )
    check_refusal(third.get(f"/hats/stars/{half.state}/hats.properties"), 410)


def test_partition_files_of_the_engine_are_served_unchanged(tmp_path: Path) -> None:
    rows = stars().drop_columns([CELL])
    table = replace(build_table_from_arrow("stars.main", rows), primary=("id",))
    with open_tiny_site(tmp_path, {}, brought={"hats": HatsSettings(roots=(str(tmp_path / "roots"),))}) as site:
        publish_rows(site, table, rows, engine_name="hats")
        site.refresh_published_state()
        read = Catalogue(Client(create_and_start_application(site)))
        (snapshot,) = [
            one.relation for name, one in site.get_published_state().tables_by_name.items() if name == "stars.main"
        ]
        assert isinstance(snapshot, Snapshot)
        kept = site.engines.find_engine(snapshot).list_partition_files(snapshot)
        assert kept is not None
        assert sorted(kept) == sorted(read.pixels())
        for pixel, place in kept.items():
            assert read.ask(read.path(pixel)).body == place.read_bytes()
            assert len(read.rows(pixel, "columns=id,n")) == len(read.rows(pixel))  # part of it is made
        assert sort_by_id(read.all().drop_columns([CELL])).equals(sort_by_id(rows.filter(pc.is_valid(pc.field("ra")))))
        half = Catalogue(Client(create_and_start_application(site, policies=build_odd_rows_hidden_policies("n"))))
        assert not any(value % 2 for value in half.all()["n"].to_pylist())
        shown = [one.copy_with(hidden=True) if one.name == "name" else one for one in table.columns]
        publish_rows(site, table.copy_with(columns=tuple(shown)), rows, engine_name="hats")
        site.refresh_published_state()
        assert "name" not in Catalogue(Client(create_and_start_application(site))).all().column_names


@pytest.mark.parametrize("small", [True, False])
def test_a_table_larger_than_the_read_limit_is_served_as_a_catalogue(tmp_path: Path, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Where all rows are is asked for in pieces of the sky: else a table larger than near_bytes could not be read as files."""
    if not small:
        monkeypatch.setattr(tilings, "MAX_SMALL_TABLE_ROWS", 100)
    monkeypatch.setattr(hats_layout, "ROW_GROUP_ROWS", 64)
    rows = stars().drop_columns([CELL])
    table = replace(build_table_from_arrow("stars.main", rows), primary=("id",))
    layouts = []
    for name, most in (("all", 1 << 30), ("few", 12_000)):
        with open_tiny_site(
            tmp_path / name, {}, brought={"hats": HatsSettings(roots=("roots",), near_bytes=most)}
        ) as site:
            publish_rows(site, table, rows, engine_name="hats")
            site.refresh_published_state()
            client = Client(create_and_start_application(site))
            if name == "few":
                assert client.get("/tap/sync?LANG=ADQL&QUERY=SELECT+MAX(ra)+AS+n+FROM+stars.main").status != 200
            read = Catalogue(client)
            layouts.append((read.pixels(), *(read.ask(f"{read.state}/{one}").body for one in ("point_map.fits", "skymap.fits")), sort_by_id(read.all())))  # fmt: skip
    assert layouts[0][:3] == layouts[1][:3]
    assert layouts[0][3].equals(layouts[1][3])
